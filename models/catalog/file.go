package catalog

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"sdworker/formats"
	"sdworker/formats/embedding"
	"sdworker/internal/fileid"
	"sdworker/models"
)

// File is one model file on disk. It is a value: what was true at the last scan.
type File struct {
	Kind    models.Kind
	Path    string // absolute
	Name    string // below its model folder, with slashes: "sub/b.safetensors"
	Repo    string // "org/name" for a file of a Hugging Face cache
	Bytes   int64
	ModTime time.Time
	SHA256  string // hex, "" while unknown
	inode   uint64
	place   int // which configured place it was found in; 0 is Config.Files
}

// ID is the version of the file that was there at the last scan.
func (f File) ID() fileid.ID {
	return fileid.ID{Path: f.Path, Size: f.Bytes, ModTime: f.ModTime.UnixNano(), Inode: f.inode}
}

// now is the file as it is on disk at this moment.
func (f File) now() File {
	info, err := os.Stat(f.Path)
	if err != nil {
		return f
	}
	return f.at(info)
}

// at makes f the version that info describes.
func (f File) at(info fs.FileInfo) File {
	f.Bytes, f.ModTime, f.inode = info.Size(), info.ModTime(), fileid.Of(f.Path, info).Inode
	return f
}

// Picture tells a textual inversion inside a PNG, which has no header of tensors.
func (f File) Picture() bool { return f.Kind == models.Embedding && embedding.IsPicture(f.Name) }

// Stem is the base name without extension, as prompts name LoRAs and embeddings.
func (f File) Stem() string { return formats.Stem(f.Name[strings.LastIndexByte(f.Name, '/')+1:]) }

// FileName is the base name, as A1111 lists VAEs.
func (f File) FileName() string { return path.Base(f.Name) }

// ShortTitle is Stem, and the short hash in brackets once it is known: how infotexts
// name a second checkpoint.
func (f File) ShortTitle() string { return withHash(f.Stem(), f.ShortHash()) }

// ModelName is A1111's model_name: Name without extension and with "_" for
// every slash.
func (f File) ModelName() string {
	return formats.Stem(strings.NewReplacer("/", "_", `\`, "_").Replace(f.Name))
}

// ShortHash is the first ten digits of the sha256, "" while that is unknown.
func (f File) ShortHash() string { return ShortHash(f.SHA256) }

// ShortHash cuts a sha256 to the ten digits of A1111's titles and texts.
func ShortHash(sum string) string { return sum[:min(10, len(sum))] }

// Title is how A1111 shows a checkpoint: Name, and the short hash in brackets
// once it is known.
func (f File) Title() string { return withHash(f.Name, f.ShortHash()) }

func withHash(name, hash string) string {
	if hash == "" {
		return name
	}
	return name + " [" + hash + "]"
}
