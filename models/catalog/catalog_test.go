package catalog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/formats/torchfile/torchfiletest"
	"sdworker/internal/fileid"
	"sdworker/internal/vectors"
	"sdworker/models"
	"sdworker/models/catalog"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestModelNames(t *testing.T) {
	var f struct {
		Cases []struct {
			Name  string
			Input struct {
				Path   string
				SHA256 *string
			}
			Want struct {
				Title     string
				ModelName string `json:"model_name"`
				Hash      *string
			}
		}
	}
	vectors.Load(t, "model_names.json", &f)
	require.NotEmpty(t, f.Cases)
	for _, c := range f.Cases {
		t.Run(c.Name, func(t *testing.T) {
			file := catalog.File{Name: c.Input.Path}
			if c.Input.SHA256 != nil {
				file.SHA256 = *c.Input.SHA256
			}
			want := ""
			if c.Want.Hash != nil {
				want = *c.Want.Hash
			}
			require.Equal(t, c.Want.Title, file.Title())
			require.Equal(t, c.Want.ModelName, file.ModelName())
			require.Equal(t, want, file.ShortHash())
		})
	}
}

func TestStem(t *testing.T) {
	for name, want := range map[string]string{
		"a.safetensors": "a", "a.b.c": "a.b", "a": "a", "a.": "a", ".hidden": ".hidden", "..x": "..x", "sub/c.d.ckpt": "c.d",
	} {
		require.Equal(t, want, catalog.File{Name: name}.Stem(), name)
	}
}

func parameters(t *testing.T, o synth.Options) []safetensors.Tensor {
	t.Helper()
	list, err := synth.Parameters(o)
	require.NoError(t, err)
	return list
}

// lay writes files under the given names below dir: VAEs and TAESD decoders that can
// be used, since some are chosen by that, and tiny ones of no kind.
func lay(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		tensors := []safetensors.Tensor{modelstest.F16("t", 8)}
		switch {
		case strings.Contains(name, ".vae."):
			tensors = parameters(t, synth.Options{Kind: synth.VAE})
		case strings.Contains(name, "taesd"):
			tensors = parameters(t, synth.Options{Kind: synth.TAESD})
		}
		modelstest.Write(t, filepath.Join(dir, name), map[string]string{"name": name}, tensors...)
	}
}

func open(t *testing.T, config catalog.Config) *catalog.Catalog {
	t.Helper()
	c := catalog.New(config)
	require.NoError(t, c.Refresh())
	return c
}

func names(files []catalog.File) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, f.Name)
	}
	return out
}

func stems(files []catalog.EmbeddingFile) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, f.Stem())
	}
	return out
}

func TestFoldersOfA1111(t *testing.T) {
	for _, root := range []string{"", "models", "stable-diffusion-webui/models"} {
		t.Run(root, func(t *testing.T) {
			dir := t.TempDir()
			lay(t, filepath.Join(dir, root),
				"Stable-diffusion/v10.safetensors", "Stable-diffusion/v9.safetensors", "Stable-diffusion/sub/b.safetensors",
				"Stable-diffusion/old.ckpt", "Stable-diffusion/v9.vae.safetensors", "Stable-diffusion/notes.txt", "Stable-diffusion/.part.safetensors",
				"Lora/x.safetensors", "LyCORIS/y.safetensors", "VAE/mse.safetensors", "ESRGAN/up.safetensors", "ControlNet/canny.safetensors",
				"embeddings/bad.safetensors", "VAE-approx/taesd.safetensors", "VAE-approx/taesdxl.safetensors")
			c := open(t, catalog.Config{Roots: []string{dir}})
			require.Equal(t, []string{"v9.safetensors", "v10.safetensors", "sub/b.safetensors"}, names(c.Checkpoints()))
			require.Equal(t, []string{"x.safetensors", "y.safetensors"}, names(c.List(models.LoRA)))
			require.Equal(t, []string{"mse.safetensors", "v9.vae.safetensors"}, names(c.VAEs()))
			require.Equal(t, []string{"up.safetensors"}, names(c.List(models.Upscaler)))
			require.Equal(t, []string{"canny.safetensors"}, names(c.List(models.ControlNet)))
			require.Equal(t, []string{"bad"}, stems(c.Embeddings()))
			preview, ok := c.PreviewDecoder()
			require.True(t, ok)
			require.Equal(t, "taesd.safetensors", preview.Name)

			withPickles := open(t, catalog.Config{Roots: []string{dir}, AllowPickle: true})
			require.Contains(t, names(withPickles.Checkpoints()), "old.ckpt")
		})
	}
}

func TestFoldersOfComfyAndRunPod(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "models/checkpoints/a.safetensors", "models/loras/l.safetensors", "models/vae/v.safetensors",
		"models/upscale_models/u.safetensors", "models/controlnet/c.safetensors", "models/embeddings/e.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}})
	for kind, want := range map[models.Kind]string{
		models.Checkpoint: "a.safetensors", models.LoRA: "l.safetensors", models.VAE: "v.safetensors",
		models.Upscaler: "u.safetensors", models.ControlNet: "c.safetensors", models.Embedding: "e.safetensors",
	} {
		require.Equal(t, []string{want}, names(c.List(kind)), kind)
	}
}

// What ControlNet units use lies in one folder or in those of ComfyUI and of the
// extension; headers tell it apart.
func TestIPAdaptersAndTheirEncoder(t *testing.T) {
	for _, places := range [][2]string{
		{"models/ControlNet/ip-adapter_sd15.safetensors", "models/ControlNet/clip_vision/h.safetensors"},
		{"models/ipadapter/ip-adapter_sd15.safetensors", "models/clip_vision/h.safetensors"},
		{"extensions/sd-webui-controlnet/models/ip-adapter_sd15.safetensors", "extensions/sd-webui-controlnet/annotator/downloads/clip_vision/h.safetensors"},
	} {
		t.Run(places[0], func(t *testing.T) {
			dir := t.TempDir()
			write := func(place string, o synth.Options) {
				modelstest.Write(t, filepath.Join(dir, place), nil, parameters(t, o)...)
			}
			write(places[0], synth.Options{Kind: synth.IPAdapter, Size: synth.Full})
			write(filepath.Join(filepath.Dir(places[0]), "canny.safetensors"), synth.Options{Kind: synth.ControlNet})
			c := open(t, catalog.Config{Roots: []string{dir}})
			require.Equal(t, []string{"canny.safetensors", "ip-adapter_sd15.safetensors"}, names(c.ControlNets()))
			require.Equal(t, []string{"ip-adapter_sd15.safetensors"}, names(c.List(models.IPAdapter)))
			adapter, ok := c.ControlNet("ip-adapter_sd15")
			require.True(t, ok)
			require.Equal(t, models.IPAdapter, adapter.Kind)
			_, ok = c.ImageEncoder(adapter)
			require.False(t, ok)

			write(filepath.Join(filepath.Dir(places[1]), "g.safetensors"), synth.Options{Kind: synth.ImageEncoder}) // of another width
			write(places[1], synth.Options{Kind: synth.ImageEncoder, Size: synth.Full})
			encoder, ok := c.ImageEncoder(adapter)
			require.True(t, ok)
			_, ok = c.Depth(false)
			require.False(t, ok)
			depths := filepath.Join(filepath.Dir(filepath.Dir(places[1])), "depth_anything")
			if strings.HasPrefix(places[1], "models/ControlNet/") {
				depths = "models/ControlNet"
			}
			write(filepath.Join(depths, "depth_anything_v2_vits.safetensors"), synth.Options{Kind: synth.Depth})
			write(filepath.Join(depths, "depth_anything_vits14.safetensors"), synth.Options{Kind: synth.Depth})
			for second, want := range map[bool]string{false: "depth_anything_vits14.safetensors", true: "depth_anything_v2_vits.safetensors"} {
				f, ok := c.Depth(second)
				require.True(t, ok)
				require.Equal(t, want, f.FileName())
			}
			require.Equal(t, filepath.Join(dir, places[1]), encoder.Path)
		})
	}
}

// Adapters are published in .bin, as PyTorch and diffusers call their files.
func TestAdaptersInBin(t *testing.T) {
	dir := t.TempDir()
	for place, o := range map[string]synth.Options{
		"ControlNet/ip-adapter_sd15.bin": {Kind: synth.IPAdapter}, "Lora/pytorch_lora_weights.bin": {Kind: synth.LoRADiffusers},
	} {
		var tensors []torchfiletest.Tensor
		for _, p := range parameters(t, o) {
			values := p.Elements()
			tensors = append(tensors, torchfiletest.Tensor{
				Name: p.Name, Storage: "HalfStorage", Shape: p.Shape, Values: values, Data: bytes.NewReader(make([]byte, 2*values)),
			})
		}
		path := filepath.Join(dir, place)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		out, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, torchfiletest.Write(out, tensors...))
		require.NoError(t, out.Close())
	}
	c := open(t, catalog.Config{Roots: []string{dir}, AllowPickle: true})
	adapter, ok := c.ControlNet("ip-adapter_sd15")
	require.True(t, ok)
	require.Equal(t, models.IPAdapter, adapter.Kind)
	require.Equal(t, []string{"pytorch_lora_weights.bin"}, names(c.List(models.LoRA)))
	require.Empty(t, names(open(t, catalog.Config{Roots: []string{dir}}).List(models.LoRA)), "pickles are taken where they are allowed")
}

func TestRootThatIsAModelFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Stable-diffusion")
	lay(t, dir, "a.safetensors", "deep/er/b.safetensors")
	require.Equal(t, []string{"a.safetensors", "deep/er/b.safetensors"}, names(open(t, catalog.Config{Roots: []string{dir}}).Checkpoints()))

	checkout := filepath.Join(t.TempDir(), "stable-diffusion")
	lay(t, checkout, "models/Stable-diffusion/c.safetensors", "models/Lora/l.safetensors")
	c := open(t, catalog.Config{Roots: []string{checkout}})
	require.Equal(t, []string{"c.safetensors"}, names(c.Checkpoints()))
	require.Equal(t, []string{"l.safetensors"}, names(c.List(models.LoRA)))
}

func TestLooseFilesAreRecognized(t *testing.T) {
	dir := t.TempDir()
	for name, kind := range map[string]synth.Kind{"c.safetensors": synth.Checkpoint, "l.safetensors": synth.LoRA, "v.safetensors": synth.VAE} {
		modelstest.Write(t, filepath.Join(dir, name), nil, parameters(t, synth.Options{Kind: kind})...)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.safetensors"), []byte("x"), 0o600))
	c := open(t, catalog.Config{Roots: []string{dir}})
	require.Equal(t, []string{"c.safetensors"}, names(c.Checkpoints()))
	require.Equal(t, []string{"l.safetensors"}, names(c.List(models.LoRA)))
	require.Equal(t, []string{"v.safetensors"}, names(c.VAEs()))
}

func TestFoldersInAnOrderOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	for name, kind := range map[string]synth.Kind{"anime/new/c.safetensors": synth.Checkpoint, "styles/l.safetensors": synth.LoRA, ".cache/hidden.safetensors": synth.LoRA} {
		modelstest.Write(t, filepath.Join(dir, name), nil, parameters(t, synth.Options{Kind: kind})...)
	}
	c := open(t, catalog.Config{Roots: []string{dir}})
	require.Equal(t, []string{"anime/new/c.safetensors"}, names(c.Checkpoints()))
	require.Equal(t, []string{"styles/l.safetensors"}, names(c.List(models.LoRA)))
}

func TestHuggingFaceCache(t *testing.T) {
	dir := t.TempDir()
	repo := filepath.Join(dir, "huggingface-cache/hub/models--XpucT--Deliberate")
	digest := strings.Repeat("ab", 32)
	modelstest.Write(t, filepath.Join(repo, "blobs", digest), nil, parameters(t, synth.Options{})...)
	link := func(revision, name string) {
		at := filepath.Join(repo, "snapshots", revision, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.Symlink(filepath.Join("../../blobs", digest), at))
	}
	link("aaa", "Old.safetensors")
	link("bbb", "Deliberate_v6.safetensors")
	link("bbb", "README.md")
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs/main"), []byte("bbb\n"), 0o600))

	c := open(t, catalog.Config{Roots: []string{dir}})
	require.Equal(t, []string{"Deliberate_v6.safetensors"}, names(c.Checkpoints()))
	for _, name := range []string{"XpucT/Deliberate", "XpucT/Deliberate/Deliberate_v6.safetensors", "Deliberate_v6", "ababababab"} {
		f, ok := c.Checkpoint(name)
		require.True(t, ok, name)
		require.Equal(t, digest, f.SHA256)
		require.Equal(t, "Deliberate_v6.safetensors [ababababab]", f.Title())
	}
	byShortName, err := c.Resolve("deliberate-v6")
	require.NoError(t, err)
	require.Equal(t, digest, byShortName.SHA256)

	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs/main"), []byte("../../elsewhere"), 0o600))
	require.NoError(t, c.Refresh())
	require.Equal(t, []string{"Old.safetensors"}, names(c.Checkpoints()), "a ref that leads elsewhere falls back to the first snapshot")
}

func TestFirstRootWins(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	lay(t, one, "Stable-diffusion/a.safetensors", "Lora/l.safetensors")
	lay(t, two, "Stable-diffusion/a.safetensors", "Lora/l.safetensors")
	c := open(t, catalog.Config{Roots: []string{one, two}})
	require.Len(t, c.Checkpoints(), 1)
	f, ok := c.Checkpoint("a")
	require.True(t, ok)
	require.True(t, strings.HasPrefix(f.Path, one))
	l, ok := c.LoRA("l")
	require.True(t, ok)
	require.True(t, strings.HasPrefix(l.Path, one))
}

func TestOneFolderUnderSeveralNames(t *testing.T) {
	root := t.TempDir()
	lay(t, root, "models/Lora/style.safetensors")
	require.NoError(t, os.Symlink(filepath.Join(root, "models"), filepath.Join(root, "link")))
	t.Chdir(root)
	c := catalog.New(catalog.Config{Roots: []string{"models", filepath.Join(root, "models"), "link", "./models/../models"}})
	require.NoError(t, c.Refresh())
	loras := c.List(models.LoRA)
	require.Len(t, loras, 1)
	require.Equal(t, filepath.Join(root, "models", "Lora", "style.safetensors"), loras[0].Path)
}

func TestLinksAndLoops(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	lay(t, elsewhere, "far.safetensors")
	lay(t, dir, "Stable-diffusion/near.safetensors", "Lora/lora.safetensors")
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "Stable-diffusion/link")))
	require.NoError(t, os.Symlink(dir, filepath.Join(elsewhere, "loop")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "Stable-diffusion/dangling.safetensors")))
	c := open(t, catalog.Config{Roots: []string{dir}})
	require.Equal(t, []string{"near.safetensors", "link/far.safetensors"}, names(c.Checkpoints()), "the LoRA above is none")
}

func sha(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/dream.safetensors", "Stable-diffusion/dreamy.safetensors", "Stable-diffusion/sub/other.safetensors", "Stable-diffusion/p.ckpt")
	path := filepath.Join(dir, "Stable-diffusion/sub/other.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}})
	sum, err := c.SHA256(context.Background(), path)
	require.NoError(t, err)
	require.Equal(t, sha(t, path), sum)

	for _, name := range []string{
		"sub/other.safetensors [" + sum[:10] + "]", "sub_other", "sub/other.safetensors", "other",
		sum[:10], sum, "other [" + sum[:10] + "]",
		"e3b0c442", "sub/other.safetensors [e3b0c442]", // the old hash of a file below one megabyte
	} {
		if strings.HasSuffix(name, "e3b0c442") { // every small file has it
			_, ok := c.Checkpoint(name)
			require.True(t, ok, name)
			continue
		}
		f, ok := c.Checkpoint(name)
		require.True(t, ok, name)
		require.Equal(t, path, f.Path, name)
	}
	for _, name := range []string{"", "oth", "OTHER", sum[:6], "dream.safetensors [0123456789]"} {
		_, ok := c.Checkpoint(name)
		require.False(t, ok, name)
	}
	for name, want := range map[string]string{
		"dream": "dream.safetensors", "drea": "dream.safetensors", "y.safe": "dreamy.safetensors", "oth": "sub/other.safetensors",
		sum[:6]: "sub/other.safetensors", "dream.safetensors [0123456789]": "dream.safetensors", "dreamy.safetensors  [x] ": "dreamy.safetensors",
	} {
		f, ok := c.ClosestCheckpoint(name)
		require.True(t, ok, name)
		require.Equal(t, want, f.Name, name)
	}
	_, ok := c.ClosestCheckpoint("")
	require.False(t, ok)

	first, err := c.Resolve("")
	require.NoError(t, err)
	require.Equal(t, "dream.safetensors", first.Name)
	byPath, err := c.Resolve(path)
	require.NoError(t, err)
	require.Equal(t, "sub/other.safetensors", byPath.Name)
	_, err = c.Resolve("zzz")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.ErrorContains(t, err, `no checkpoint or file named "zzz"`)
	_, err = c.Resolve("p.ckpt")
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "pickle")

	_, err = c.Resolve("deliberate-v6")
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	lay(t, dir, "Stable-diffusion/Deliberate_v6.safetensors")
	byShortName, err := c.Resolve("deliberate-v6")
	require.NoError(t, err)
	require.Equal(t, "Deliberate_v6.safetensors", byShortName.Name)
	lay(t, dir, "Stable-diffusion/new.safetensors")
	f, err := c.Resolve("new")
	require.NoError(t, err, "a miss looks at the disk again")
	require.Equal(t, "new.safetensors", f.Name)

	_, err = open(t, catalog.Config{}).Resolve("")
	require.ErrorContains(t, err, "worker models pull")
}

func TestUserNamedFile(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "some.bin.safetensors")
	path := filepath.Join(dir, "some.bin.safetensors")
	c := open(t, catalog.Config{Files: []string{path, filepath.Join(dir, "none")}})
	require.Equal(t, []string{"some.bin.safetensors"}, names(c.Checkpoints()))
}

// Loading the file then says what it is; not listing it would say that it is not
// there.
func TestUserNamedFileIsListedWhateverItHolds(t *testing.T) {
	dir := t.TempDir()
	lora := filepath.Join(dir, "lora.safetensors")
	require.NoError(t, synth.Write(t.Context(), lora, synth.Options{Kind: synth.LoRA, Size: synth.Tiny}))
	pickle := filepath.Join(dir, "old.ckpt")
	require.NoError(t, os.WriteFile(pickle, []byte("PK\x03\x04"), 0o600))
	for _, path := range []string{lora, pickle} {
		c := open(t, catalog.Config{Files: []string{path}})
		require.Equal(t, []string{filepath.Base(path)}, names(c.Checkpoints()))
		f, err := c.Resolve(path)
		require.NoError(t, err)
		require.Equal(t, path, f.Path)
	}
}

func TestResolveWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe, loop := filepath.Join(dir, "pipe.safetensors"), filepath.Join(dir, "loop.safetensors")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Symlink(loop, loop))
	c := open(t, catalog.Config{Roots: []string{dir}})
	for path, want := range map[string]string{dir: "is a folder", pipe: "is not a regular file", loop: "no checkpoint or file named", filepath.Join(dir, "none"): "no checkpoint or file named"} {
		_, err := c.Resolve(path)
		require.ErrorContains(t, err, want)
	}
	for path, want := range map[string]string{pipe: "is not a regular file", loop: "cannot open"} {
		_, err := models.Inspect(path)
		require.ErrorContains(t, err, want)
	}
}

// Folders of A1111 hold other families too, and LoRAs in the wrong place.
func TestDefaultRunsHere(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}})
	f, ok := c.Default()
	require.True(t, ok)
	require.Equal(t, "a.safetensors", f.Name, "better than nothing: using it says what is wrong")

	modelstest.Write(t, filepath.Join(dir, "Stable-diffusion/b.safetensors"), nil, parameters(t, synth.Options{Kind: synth.Checkpoint, Size: synth.Tiny})...)
	require.NoError(t, c.Refresh())
	f, _ = c.Default()
	require.Equal(t, "b.safetensors", f.Name)
	resolved, err := c.Resolve("")
	require.NoError(t, err)
	require.Equal(t, f, resolved)

	_, ok = open(t, catalog.Config{}).Default()
	require.False(t, ok)
}

func TestRefreshIfChanged(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}})
	lay(t, dir, "Lora/late.safetensors") // in a folder that was not there
	require.NoError(t, c.RefreshIfChanged())
	require.Equal(t, []string{"late.safetensors"}, names(c.List(models.LoRA)))
	require.NoError(t, os.Remove(filepath.Join(dir, "Stable-diffusion/a.safetensors")))
	require.NoError(t, c.RefreshIfChanged())
	require.Empty(t, c.Checkpoints())
}

func TestHashesBelongToAVersionOfAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Lora")
	write := func(name, hash string) string {
		meta := map[string]string{}
		if hash != "" {
			meta["sshs_model_hash"] = strings.Repeat(hash, 32)
		}
		return modelstest.Write(t, filepath.Join(dir, name+".safetensors"), meta, modelstest.F16(hash+"x", 4))
	}
	path := write("l", "ab")
	c := open(t, catalog.Config{Roots: []string{dir}})
	before, err := fileid.Stat(path)
	require.NoError(t, err)
	old, err := c.VersionSHA256(t.Context(), before)
	require.NoError(t, err)
	name, err := c.LoRAHash(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, "abababababab", name)

	require.NoError(t, os.Rename(write("new", "cd"), path)) // as a trainer does, of the same size
	require.NoError(t, os.Chtimes(path, time.Unix(0, before.ModTime), time.Unix(0, before.ModTime)))
	after, err := fileid.Stat(path)
	require.NoError(t, err)
	require.Equal(t, before.Size, after.Size)
	got, err := c.VersionSHA256(t.Context(), after)
	require.NoError(t, err)
	require.NotEqual(t, old, got)
	name, err = c.LoRAHash(t.Context(), after)
	require.NoError(t, err)
	require.Equal(t, "cdcdcdcdcdcd", name)
	sum, err := c.SHA256(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, got, sum, "the list was made before")

	again := modelstest.Write(t, path, nil, modelstest.F16("third", 4)) // in place
	_, err = c.VersionSHA256(t.Context(), after)
	require.NoError(t, err, "known since it was asked for")
	unknown := after
	unknown.ModTime++
	_, err = c.VersionSHA256(t.Context(), unknown)
	require.ErrorContains(t, err, "replaced")
	_, err = c.LoRAHash(t.Context(), unknown)
	require.ErrorContains(t, err, "replaced")
	require.NotEmpty(t, again)
}

// Who names a file that came since the last look finds it.
func TestNewFilesAreFoundByName(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors", "embeddings/a.safetensors", "ControlNet/a.safetensors", "VAE/other.vae.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}})
	_, ok := c.Checkpoint("b")
	require.False(t, ok)
	lay(t, dir, "Stable-diffusion/b.safetensors")
	f, ok := c.Checkpoint("b")
	require.True(t, ok)
	lay(t, dir, "Stable-diffusion/part of it.safetensors")
	_, ok = c.ClosestCheckpoint("part")
	require.True(t, ok)
	lay(t, dir, "VAE/b.vae.safetensors")
	vae, ok := c.VAEFor(f, "Automatic")
	require.True(t, ok)
	require.Equal(t, "b.vae.safetensors", vae.FileName())
	lay(t, dir, "ControlNet/b.safetensors")
	_, ok = c.ControlNet("b")
	require.True(t, ok)
	lay(t, dir, "embeddings/b.safetensors")
	require.Len(t, c.Embeddings(), 2)
}

// A catalog that was told what there is never looks for it.
func TestToldFiles(t *testing.T) {
	c := catalog.Of(catalog.Made{File: catalog.File{Kind: models.Checkpoint, Path: "/nowhere/a.ckpt", Name: "a.ckpt", SHA256: strings.Repeat("ab", 32)}})
	require.NoError(t, c.Refresh())
	f, ok := c.Default()
	require.True(t, ok)
	require.Equal(t, "a.ckpt [ababababab]", f.Title())
	require.Equal(t, "a [ababababab]", f.ShortTitle())
	require.Len(t, c.Usable(c.Checkpoints()), 1)
	c.Tell()
	_, ok = c.Default()
	require.False(t, ok)
}

func TestHasherAndItsMemory(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors", "Stable-diffusion/b.safetensors")
	config := catalog.Config{Roots: []string{dir}, HashFile: filepath.Join(dir, "state/hashes.json")}
	c := open(t, config)
	ctx, cancel := context.WithCancel(context.Background())
	gate := make(chan struct{})
	done := make(chan string, 8)
	var wait sync.WaitGroup
	wait.Go(func() {
		c.RunHasher(ctx, func(ctx context.Context) error {
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func(path, sum string, err error) {
			assert.NoError(t, err)
			done <- path
		})
	})
	list := c.Checkpoints()
	c.QueueHash(list...)
	c.QueueHash(list[1])
	require.Equal(t, "a.safetensors", c.Checkpoints()[0].Title(), "nothing is read before the gate opens")
	close(gate)
	require.Equal(t, list[0].Path, <-done)
	require.Equal(t, list[1].Path, <-done)
	want := sha(t, list[0].Path)
	require.Equal(t, "a.safetensors ["+want[:10]+"]", c.Checkpoints()[0].Title())
	learned := strings.Repeat("12", 32)
	lay(t, dir, "Stable-diffusion/c.safetensors")
	require.NoError(t, c.Refresh())
	require.NoError(t, c.LearnSHA256(filepath.Join(dir, "Stable-diffusion/c.safetensors"), learned))
	require.Equal(t, learned, c.Checkpoints()[2].SHA256)
	require.Error(t, c.LearnSHA256(list[0].Path, "short"))
	require.Error(t, c.LearnSHA256(filepath.Join(dir, "none"), learned))
	cancel()
	wait.Wait()

	again := open(t, config)
	require.Equal(t, want, again.Checkpoints()[0].SHA256, "known from the file")
	lay(t, dir, "Stable-diffusion/a.safetensors") // rewritten: same size, another time
	require.NoError(t, os.Chtimes(list[0].Path, time.Time{}, time.Now().Add(time.Hour)))
	require.NoError(t, again.Refresh())
	require.Empty(t, again.Checkpoints()[0].SHA256, "not true any more")

	require.NoError(t, os.WriteFile(config.HashFile, []byte("{broken"), 0o600))
	require.Empty(t, open(t, config).Checkpoints()[1].SHA256)
}

func TestLoRANames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Lora")
	write := func(name string, metadata map[string]string) {
		modelstest.Write(t, filepath.Join(dir, name+".safetensors"), metadata, modelstest.F16("lora_unet_x.lora_down.weight", 4))
	}
	write("a", map[string]string{"ss_output_name": "nice", "ss_tag_frequency": `{"x":{"cat":3}}`, "ssmd_cover_images": "[]", "broken": "{no"})
	write("b", map[string]string{"ss_output_name": "same"})
	write("c", map[string]string{"ss_output_name": "same"})
	write("d", map[string]string{"ss_output_name": "a"}) // the name of another file
	write("e", map[string]string{"ss_output_name": "None"})
	write("sub/f", nil)
	c := open(t, catalog.Config{Roots: []string{dir}})
	for name, want := range map[string]string{"a": "a", "nice": "a", "b": "b", "d": "d", "f": "f", "e": "e", "same": "", "None": "", "none": "", "A": "", "sub/f": ""} {
		f, ok := c.LoRA(name)
		require.Equal(t, want != "", ok, name)
		require.Equal(t, want, f.Stem(), name)
	}
	list := c.LoRAs()
	require.Equal(t, "nice", list[0].Alias)
	require.Equal(t, map[string]any{"x": map[string]any{"cat": 3.0}}, list[0].Metadata["ss_tag_frequency"])
	require.Equal(t, "{no", list[0].Metadata["broken"])
	require.NotContains(t, list[0].Metadata, "ssmd_cover_images")
	require.Equal(t, "f", list[5].Alias)
	require.Empty(t, list[5].Metadata)

	write("late", nil)
	_, ok := c.LoRA("late")
	require.True(t, ok, "a miss looks at the disk again")
}

func TestLoRAHash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Lora")
	told := modelstest.Write(t, filepath.Join(dir, "told.safetensors"), map[string]string{"sshs_model_hash": strings.Repeat("0123456789abcdef", 4)}, modelstest.F16("x", 4))
	plain := modelstest.Write(t, filepath.Join(dir, "plain.safetensors"), map[string]string{"note": "not hashed"}, modelstest.F16("x", 4))
	require.NotEmpty(t, told)
	c := open(t, catalog.Config{Roots: []string{dir}})
	for name, want := range map[string]string{
		"told":  "0123456789ab",
		"plain": "af5570f5a181", // sha256 of the eight zero bytes of the tensor
	} {
		f, ok := c.LoRA(name)
		require.True(t, ok)
		for range 2 {
			got, err := c.LoRAHash(context.Background(), f.ID())
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	require.NoError(t, os.Remove(plain))
	f, _ := c.LoRA("plain")
	got, err := c.LoRAHash(context.Background(), f.ID())
	require.NoError(t, err)
	require.Equal(t, "af5570f5a181", got, "remembered")
}

func TestVAEChoice(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/one.safetensors", "Stable-diffusion/two.safetensors", "Stable-diffusion/two.vae.safetensors",
		"Stable-diffusion/three.safetensors", "VAE/mse.safetensors", "VAE/kl.safetensors")
	settings := filepath.Join(dir, "Stable-diffusion/three.json")
	require.NoError(t, os.WriteFile(settings, []byte(`{"vae":"kl.safetensors"}`), 0o600))
	c := open(t, catalog.Config{Roots: []string{dir}})
	require.Equal(t, []string{"kl.safetensors", "mse.safetensors", "two.vae.safetensors"}, names(c.VAEs()))
	for _, x := range []struct{ checkpoint, setting, want string }{
		{"one", "Automatic", ""},
		{"one", "", ""},
		{"one", "None", ""},
		{"one", "mse.safetensors", "mse.safetensors"},
		{"one", "mse", ""},
		{"two", "Automatic", "two.vae.safetensors"},
		{"two", "kl.safetensors", "kl.safetensors"},
		{"two", "None", ""},
		{"three", "Automatic", "kl.safetensors"},
		{"three", "mse.safetensors", "mse.safetensors"},
	} {
		f, ok := c.Checkpoint(x.checkpoint)
		require.True(t, ok)
		vae, ok := c.VAEFor(f, x.setting)
		require.Equal(t, x.want != "", ok, x)
		require.Equal(t, x.want, vae.Name, x)
	}
	three, _ := c.Checkpoint("three")
	for content, want := range map[string]bool{`{"vae":"None"}`: false, `{"vae":"gone.pt"}`: false, `{`: false, `{"vae":"Automatic"}`: false} {
		require.NoError(t, os.WriteFile(settings, []byte(content), 0o600))
		_, ok := c.VAEFor(three, "Automatic")
		require.Equal(t, want, ok, content)
	}
	require.Empty(t, models.ConfigBeside(three.Path))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Stable-diffusion/three.yaml"), nil, 0o600))
	require.Equal(t, filepath.Join(dir, "Stable-diffusion/three.yaml"), models.ConfigBeside(three.Path))
}

func TestControlNetNames(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "ControlNet/control_v11p_sd15_canny.safetensors", "ControlNet/control_v11p_sd15_canny_fp16.safetensors", "ESRGAN/4x_Up.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}})
	first := c.List(models.ControlNet)[0]
	require.Equal(t, "control_v11p_sd15_canny [e3b0c442]", c.ControlNetName(first))
	for name, want := range map[string]string{
		"control_v11p_sd15_canny [e3b0c442]": "control_v11p_sd15_canny", "Control_v11p_sd15_canny [other]": "control_v11p_sd15_canny",
		"control_v11p_sd15_canny_fp16": "control_v11p_sd15_canny_fp16", "canny": "control_v11p_sd15_canny", "None": "", "": "", "depth": "",
	} {
		f, ok := c.ControlNet(name)
		require.Equal(t, want != "", ok, name)
		require.Equal(t, want, f.Stem(), name)
	}
}

func TestEmbeddingVectors(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]synth.Options{"good": {Kind: synth.Embedding}, "z": {Kind: synth.Embedding, Seed: 1}} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "embeddings"), 0o755))
		require.NoError(t, synth.Write(context.Background(), filepath.Join(dir, "embeddings", name+".safetensors"), o))
	}
	modelstest.Write(t, filepath.Join(dir, "embeddings/Xl.safetensors"), nil, modelstest.F16("clip_g", 2, 1280), modelstest.F16("clip_l", 2, 768))
	modelstest.Write(t, filepath.Join(dir, "embeddings/flat.safetensors"), nil, modelstest.F16("emb_params", 768))
	raw, err := os.ReadFile("../../formats/torchfile/testdata/embedding.pt")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "embeddings/zz.pt"), raw, 0o600))
	c := open(t, catalog.Config{Roots: []string{dir}, AllowPickle: true})
	list := c.Embeddings()
	require.Equal(t, []string{"flat", "good", "Xl", "z", "zz"}, stems(list))
	for at, want := range [][2]int{{1, 768}, {4, 768}, {2, 1280 + 768}, {4, 768}, {2, 768}} {
		require.Equal(t, want, [2]int{list[at].Content.Vectors, list[at].Content.Shape}, list[at].Name)
	}
	sum, err := c.EmbeddingHash(context.Background(), list[1].ID())
	require.NoError(t, err)
	require.Equal(t, sha(t, list[1].Path)[:12], sum)
	_, err = models.Check(list[2].Path, models.Embedding, models.CheckOptions{})
	require.ErrorContains(t, err, "Stable Diffusion XL")
}

func TestUnreadableFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads every folder")
	}
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors", "Lora/l.safetensors")
	require.NoError(t, os.Chmod(filepath.Join(dir, "Lora"), 0))
	t.Cleanup(func() { require.NoError(t, os.Chmod(filepath.Join(dir, "Lora"), 0o700)) })
	c := catalog.New(catalog.Config{Roots: []string{dir}})
	require.Error(t, c.Refresh())
	require.Len(t, c.Checkpoints(), 1)
}

func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "Stable-diffusion/a.safetensors", "Lora/l.safetensors", "VAE/v.safetensors")
	c := open(t, catalog.Config{Roots: []string{dir}, HashFile: filepath.Join(dir, "h.json")})
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 20 {
				assert.NoError(t, c.Refresh())
				c.LoRA("missing")
				f, ok := c.Checkpoint("a")
				assert.True(t, ok)
				_, err := c.SHA256(context.Background(), f.Path)
				assert.NoError(t, err)
				c.LoRAs()
				c.VAEFor(f, "Automatic")
				_, err = c.LoRAHash(context.Background(), c.List(models.LoRA)[0].ID())
				assert.NoError(t, err)
			}
		})
	}
	wait.Wait()
	raw, err := os.ReadFile(filepath.Join(dir, "h.json"))
	require.NoError(t, err)
	require.True(t, json.Valid(raw))
}

func TestDefaultPlaces(t *testing.T) {
	env := map[string]string{"HOME": "/home/u", "HF_HOME": "/hf"}
	roots, files := catalog.DefaultPlaces(func(k string) string { return env[k] })
	require.Equal(t, []string{
		"/hf/hub", "/runpod-volume/huggingface-cache/hub", "/runpod-volume", "/workspace",
		"/home/u/.local/share/sdworker/models", "/home/u/.cache/huggingface/hub", "/models",
	}, roots)
	require.Equal(t, []string{"/model.safetensors"}, files)
}

// The program's own source folder has a folder named models, which is a place where
// model files are looked for.
func TestTestDataAreNoModels(t *testing.T) {
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(path)) == "testdata" {
			require.Empty(t, formats.OfName(path), "%s would be listed by worker models ls", path)
		}
		return err
	}))
}
