package generation

import (
	"sdworker/inference/imageio"
)

// Provenance says what files tell of their pictures' origin beside the parameters.
type Provenance string

// Kinds of provenance.
const (
	ProvenanceNone Provenance = ""
	// ProvenanceIPTC is an XMP packet with IPTC's DigitalSourceType, a machine-readable
	// mark of generated pictures.
	ProvenanceIPTC Provenance = "iptc"
)

// Terms of IPTC's digital source types (cv.iptc.org/newscodes/digitalsourcetype).
const (
	sourceGenerated = "trainedAlgorithmicMedia"
	sourceComposite = "compositeWithTrainedAlgorithmicMedia" // a picture of other origin, repainted in part
	sourceEnhanced  = "algorithmicallyEnhanced"              // a picture of other origin, enlarged
)

// xmpPacket is the packet for a digital source type.
func xmpPacket(source string) string {
	return "<?xpacket begin=\"\ufeff\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>" +
		`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">` +
		`<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"` +
		` Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/` + source + `" xmp:CreatorTool="sdworker"/>` +
		`</rdf:RDF></x:xmpmeta><?xpacket end="w"?>`
}

// mark gives the pictures of the job their provenance.
func (c *Call) mark(images []Encodable) {
	if c.Service.Config.Provenance != ProvenanceIPTC {
		return
	}
	source := sourceGenerated
	if c.Req.Init != nil && c.Req.Init.Mask != nil {
		source = sourceComposite
	}
	for i := range images {
		images[i].xmp = xmpPacket(source)
	}
}

// MarkExtra gives a picture of extras its provenance: one that carries the parameters of
// a generated picture is one.
func (s *Service) MarkExtra(m Encodable) Encodable {
	switch {
	case s.Config.Provenance != ProvenanceIPTC:
	case m.Text != "":
		m.xmp = xmpPacket(sourceGenerated)
	default:
		m.xmp = xmpPacket(sourceEnhanced)
	}
	return m
}

// marked is a file with the provenance of its picture.
func (m Encodable) marked(file []byte, err error) ([]byte, error) {
	if m.xmp == "" || err != nil {
		return file, err
	}
	return imageio.AddXMP(file, m.xmp)
}
