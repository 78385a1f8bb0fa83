package catalog

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// LoRAFile is a LoRA with what its header says.
type LoRAFile struct {
	File
	Alias    string         // ss_output_name, else the stem
	Metadata map[string]any // of the trainer; JSON inside texts is decoded
}

// loraIndex finds LoRAs by stem, and by alias where that is unambiguous.
type loraIndex struct {
	byStem map[string]File // without headers; the first root wins, within one the last file

	aliasOnce sync.Once
	byAlias   map[string]File
}

func (c *Catalog) loras() *loraIndex {
	s := c.current.Load()
	s.lorasOnce.Do(func() {
		s.loras.byStem = map[string]File{}
		for _, f := range c.List(models.LoRA) {
			if known, ok := s.loras.byStem[f.Stem()]; !ok || known.place == f.place {
				s.loras.byStem[f.Stem()] = f
			}
		}
	})
	return &s.loras
}

// LoRA finds a LoRA as a prompt names it: by the stem of its file, else by the
// output name in its metadata if only one file has it. A miss looks at the disk
// again, so that a new file works without a restart.
func (c *Catalog) LoRA(name string) (File, bool) {
	for range 2 {
		x := c.loras()
		if f, ok := x.byStem[name]; ok {
			return f, true
		}
		x.aliasOnce.Do(func() { x.byAlias = uniqueAliases(c.LoRAs(), x.byStem) })
		if f, ok := x.byAlias[name]; ok && !strings.EqualFold(name, "none") {
			return f, true
		}
		if !c.changed() || c.Refresh() != nil {
			break
		}
	}
	return File{}, false
}

// uniqueAliases drops the aliases that name two files or are the stem of
// another one.
func uniqueAliases(loras []LoRAFile, stems map[string]File) map[string]File {
	byAlias := map[string]File{}
	taken := map[string]int{}
	for _, l := range loras {
		taken[strings.ToLower(l.Alias)]++
	}
	for _, l := range loras {
		if _, isStem := stems[l.Alias]; !isStem && taken[strings.ToLower(l.Alias)] == 1 {
			byAlias[l.Alias] = l.File
		}
	}
	return byAlias
}

// LoRAs returns all LoRAs with their metadata, for A1111's list. Headers are
// read once per version of a file, several at a time.
func (c *Catalog) LoRAs() []LoRAFile {
	files := c.List(models.LoRA)
	out := make([]LoRAFile, len(files))
	each(files, func(i int, f File) {
		meta := c.metadata(f.ID())
		out[i] = LoRAFile{File: f, Alias: f.Stem(), Metadata: decodeMetadata(meta)}
		if alias := meta["ss_output_name"]; alias != "" {
			out[i].Alias = alias
		}
	})
	return out
}

// metadata returns what the header of a file says beside its tensors, nothing
// for other formats, broken files and versions that are no longer there.
func (c *Catalog) metadata(id fileid.ID) map[string]string {
	if meta, ok := c.headers.Load(id); ok {
		return meta.(map[string]string)
	}
	var meta map[string]string
	if h, err := safetensors.ReadHeaderFile(id.Path); err == nil {
		meta = h.Metadata
	}
	if now, err := fileid.Stat(id.Path); err != nil || now != id {
		return nil
	}
	c.headers.Store(id, meta)
	return meta
}

// decodeMetadata opens the JSON objects that trainers store as texts, and leaves
// the cover pictures out, as A1111 does.
func decodeMetadata(meta map[string]string) map[string]any {
	out := make(map[string]any, len(meta))
	for k, v := range meta {
		if k == "ssmd_cover_images" {
			continue
		}
		out[k] = v
		if strings.HasPrefix(v, "{") {
			var object map[string]any
			if json.Unmarshal([]byte(v), &object) == nil {
				out[k] = object
			}
		}
	}
	return out
}

// loraDigits is how many digits of a hash A1111 prints for LoRAs and
// embeddings.
const loraDigits = 12

// LoRAHash returns the twelve digits that stand in "Lora hashes" for a version of a file: of the hash
// in the metadata (sshs_model_hash), else of the values of the file, which are
// hashed at the first call and remembered. A file other than safetensors is
// hashed as a whole.
func (c *Catalog) LoRAHash(ctx context.Context, id fileid.ID) (string, error) {
	if sum := c.metadata(id)["sshs_model_hash"]; sum != "" {
		return firstDigits(sum), nil
	}
	kind := sumOfValues
	if formats.OfName(id.Path) != formats.Safetensors {
		kind.start = wholeFile
	}
	sum, err := c.versionSum(ctx, id, kind)
	return firstDigits(sum), err
}

func firstDigits(sum string) string { return sum[:min(loraDigits, len(sum))] }
