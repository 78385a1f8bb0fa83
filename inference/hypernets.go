package inference

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"

	"sdworker/formats/hypernet"
	"sdworker/inference/prompt"
	"sdworker/internal/fileid"
)

// hypernetTag is a hypernetwork that a prompt asks for.
type hypernetTag struct {
	name, path string
	strength   float64
}

// resolveHypernets turns tags into files and strengths; of a name that occurs more than
// once the last counts, as in A1111. missing are the names without a file.
func resolveHypernets(req *Request, networks []prompt.Network) (tags []hypernetTag, missing []string, err error) {
	if req.Settings.DisableExtraNetworks {
		return nil, nil, nil
	}
	for _, n := range networks {
		if n.Type != "hypernet" {
			continue
		}
		positional, _ := n.Arguments()
		if len(positional) == 0 {
			continue
		}
		tag := hypernetTag{name: positional[0], path: req.Files.Hypernets[positional[0]], strength: 1}
		if len(positional) > 1 {
			if tag.strength, err = strconv.ParseFloat(positional[1], 64); err != nil || !finite(tag.strength) {
				return nil, nil, fmt.Errorf("could not convert string to float: %q", positional[1])
			}
		}
		if tag.path == "" {
			missing = append(missing, tag.name)
			continue
		}
		known := false
		for i := range tags {
			if tags[i].name == tag.name {
				tags[i], known = tag, true
			}
		}
		if !known {
			tags = append(tags, tag)
		}
	}
	return tags, missing, nil
}

// activateHypernets makes the hypernetworks of a prompt's tags, and no others, act on the
// model. A name that is not known and a file that is broken are no errors, as in A1111.
func (j *job) activateHypernets(ctx context.Context, networks []prompt.Network) error {
	tags, missing, err := resolveHypernets(j.req, networks)
	if err != nil {
		j.comment("Hypernetwork tags were ignored: " + err.Error())
	}
	for _, name := range missing {
		j.comment("Hypernetwork not found: " + name)
	}
	var list []Hypernet
	j.hyperBytes = 0
	for _, tag := range tags {
		bytes := hypernetBytes(tag.path)
		if room := j.eng.Info().Room(); room >= 0 && j.hyperBytes+bytes > room/2 {
			j.comment(fmt.Sprintf("hypernetwork %s takes %d MiB, and there are %d MiB beside the model; it was left out", tag.name, bytes>>20, room>>20))
			continue
		}
		network, id, err := j.pipeline.hypernets.get(tag.path)
		if err != nil {
			j.comment(err.Error() + "; it was left out")
			continue
		}
		if err := j.uses(id); err != nil {
			return err
		}
		j.hyperBytes += bytes
		list = append(list, Hypernet{Network: network, Strength: tag.strength})
	}
	return j.eng.SetHypernets(ctx, list)
}

// hypernetBytes is the most that a file takes when it acts, in bytes: its values as
// float32 here and in the engine, stored as 16 bits; 0 where there is no file.
func hypernetBytes(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return 4 * info.Size()
}

// hypernetFiles keeps the hypernetworks that were read last. It is safe for concurrent use.
type hypernetFiles struct {
	mu    sync.Mutex
	known []hypernetFile // the one used last at the end
}

type hypernetFile struct {
	id      fileid.ID
	network *hypernet.Network
}

// maxHypernets and maxHypernetBytes bound how many are kept, and the size of their files
// together where they are more than one.
const (
	maxHypernets     = 4
	maxHypernetBytes = 256 << 20
)

func (f *hypernetFiles) get(path string) (*hypernet.Network, fileid.ID, error) {
	id, err := fileid.Stat(path)
	if err != nil {
		return nil, id, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, known := range f.known {
		if known.id == id {
			return known.network, id, nil
		}
	}
	network, err := hypernet.Read(path)
	if err != nil {
		return nil, id, err
	}
	f.known = append(f.known, hypernetFile{id, network})
	bytes := int64(0)
	for i, known := range slices.Backward(f.known) {
		if bytes += known.id.Size; len(f.known)-i > maxHypernets || len(f.known)-i > 1 && bytes > maxHypernetBytes {
			f.known = f.known[i+1:]
			break
		}
	}
	return network, id, nil
}
