package picture

// Provenance says what files tell of their pictures' origin beside the parameters.
type Provenance string

// Kinds of provenance.
const (
	ProvenanceNone Provenance = ""
	// ProvenanceIPTC is an XMP packet with IPTC's DigitalSourceType, a machine-readable
	// mark of generated pictures.
	ProvenanceIPTC Provenance = "iptc"
)

// Source is a term of IPTC's digital source types (cv.iptc.org/newscodes/digitalsourcetype).
type Source string

// Sources of pictures.
const (
	Generated Source = "trainedAlgorithmicMedia"
	Composite Source = "compositeWithTrainedAlgorithmicMedia" // a picture of other origin, repainted in part
	Enhanced  Source = "algorithmicallyEnhanced"              // a picture of other origin, enlarged
)

// Mark tells in the picture's file where it comes from.
func (m *Encodable) Mark(source Source) { m.xmp = xmpPacket(source) }

// xmpPacket is the packet for a digital source type.
func xmpPacket(source Source) string {
	return "<?xpacket begin=\"\ufeff\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>" +
		`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">` +
		`<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"` +
		` Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/` + string(source) + `" xmp:CreatorTool="sdworker"/>` +
		`</rdf:RDF></x:xmpmeta><?xpacket end="w"?>`
}
