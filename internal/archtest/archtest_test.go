package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "sdworker/"

// pkg is what go list says about one package of the module.
type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string // of the code, without tests
	Deps       []string // all that it needs, directly or not
	CgoFiles   []string
}

func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath, module) }

// ours are the packages of the module among list, without the module's name.
func ours(list []string) []string {
	var out []string
	for _, path := range list {
		if rest, ok := strings.CutPrefix(path, module); ok {
			out = append(out, rest)
		}
	}
	return out
}

// foreign are the imports that belong neither to the module nor to the standard
// library.
func foreign(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(path string) bool {
		first, _, _ := strings.Cut(path, "/")
		return !strings.Contains(first, ".")
	})
}

// packages lists the module as it is built with the engine. Listing needs no C
// compiler.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "sdcpp", "-json=ImportPath,Doc,Imports,Deps,CgoFiles", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if !strings.HasPrefix(p.path(), "out/") { // scratch, not part of the module's tree
			all = append(all, p)
		}
	}
	require.NotEmpty(t, all)
	return all
}

// ground matches what everything may stand on: errors, the sizes and names of the
// model, versions of files, files written whole or not at all.
const ground = `fault|sd1|internal/(fileid|atomicfile)`

// formats matches the readers of files that tensors come in.
const formats = `formats(/.*)?`

// leaf matches the packages that know nothing above them.
const leaf = ground + `|inference/(prompt|clip|footprint|textfix|rng|sampler|latent|imageio|hint|detect|batch|regions)|` + networks

// networks matches the small networks that are described as data.
const networks = `convnet(/.*)?`

// sdapiParts matches what the pictures of the A1111 API are made with.
const sdapiParts = `inference|models(/catalog)?|formats/embedding|` + leaf + `|api/(budget|gate|infotext)|internal/(publicnet|span)|api/sdapi/(dynamicprompts|exception|fastapi|gridtext|options|picture|pyjson|request|schema|styles|tileplan)`

// rules say what a package may import of the module. The first rule that matches
// a package counts, and every package needs one.
var rules = []struct {
	from, may, because string
}{
	{ground, `$^`, "what everything stands on stands on nothing"},
	{networks, `convnet`, "what a network is does not depend on where its file lies, nor on what runs it"},
	{formats, `fault|` + formats, "a file format knows nothing of what is made of its tensors"},
	{`inference/(clip|imageio)`, leaf + `|` + formats, "embeddings and texts of pictures come in files"},
	{leaf, leaf, "leaves know neither engines nor jobs nor transports"},
	{`inference`, leaf + `|formats/(embedding|hypernet)`, "the domain stands on its leaves and on nothing else"},
	{`inference/fleet`, `inference|` + leaf, "several generators are one more implementation of inference.Generator"},
	{`inference/enginetest`, `inference|formats/(embedding|hypernet)|` + leaf, "a fake must not need what it stands for"},
	{`inference/sdcpp/tiles`, leaf, "a leaf of the binding"},
	{`inference/sdcpp`, `inference(/clip|/detect|/footprint|/imageio)?|inference/sdcpp/tiles|models(/.*)?|` + ground + `|` + networks + `|` + formats, "the binding knows the engine's interface and the files it opens"},
	{`inference/remote`, `inference|` + leaf, "a supervised child is a second implementation of inference.Generator, not a new layer"},
	{`internal/publicnet`, `$^`, "a rule about addresses"},
	{`models`, `models/(adapter|diskread)|` + ground + `|` + formats + `|` + networks, "what a file holds does not depend on where it lies"},
	{`models/(adapter|diskread)`, ground + `|` + formats, "what is done with tensors and files, whatever they are for"},
	{`models/catalog`, `models(/diskread)?|` + ground + `|` + formats, "what there is does not depend on who wants it"},
	{`models/demo`, `inference/clip|models(/.*)?|` + ground + `|` + formats, "its text encoder is made of the words that prompts are read as"},
	{`models(/.*)?`, `models(/.*)?|internal/publicnet|` + ground + `|` + formats, "model files are found without knowing what serves them"},
	{`api/gate`, `$^`, "who may call is decided without knowing what for"},
	{`api/v1`, `api/gate`, "what the APIs below /v1 share"},
	{`api/v1/v1test`, `$^`, "a test of what they share"},
	{`api/infotext`, `inference|api/sdapi/pyjson|` + leaf, "the parameters text is the same for every door"},
	{`api/budget`, `fault`, "a full budget is an error of the domain"},
	{`api/(a1111|webui)`, `$^`, "they know http.Handler only"},
	{`api/sdapi/(exception|fastapi|request)`, `fault|api/gate|api/sdapi/(exception|options|pyjson|schema)`, "bodies and errors look the same whatever is asked for"},
	{`api/sdapi/(picture|styles)`, leaf + `|api/budget|internal/publicnet|api/sdapi/(exception|options|pyjson)`, "pictures and styles are read without knowing what for"},
	{`api/sdapi/generation`, sdapiParts, "pictures are made without knowing the routes, nor the scripts that ask for several"},
	{`api/sdapi/scripts`, sdapiParts + `|api/sdapi/generation`, "scripts make calls of one request without knowing its route"},
	{`api/sdapi/sdapitest`, `api/sdapi(/generation)?|inference|models(/catalog)?|formats/embedding|` + leaf, "stand-ins for what the API is made of"},
	{`api/sdapi(/.*)?`, sdapiParts + `|api/sdapi(/.*)?`, "the API is one door; it must not need another one, nor an engine"},
	{`api/tracing`, `inference|internal/span|` + leaf, "what is traced is the domain's"},
	{`api/metrics`, `inference|internal/gpustat|` + leaf, "what is counted is the domain's"},
	{`api/(jobs|mcp|openai)`, `inference|` + leaf + `|internal/publicnet|api/(budget|gate|a1111|infotext|v1)`, "they stand on the A1111 API as its clients"},
	{`api/runpod`, `internal/publicnet`, "the protocol is a library of its own"},
	{`api/runpod/.*`, `api/runpod(/.*)?|api/a1111|internal/(publicnet|span)|inference|` + leaf, "a RunPod job is an HTTP request in memory; it needs no handler package"},
	{`examples/.*`, `$^`, "what a stranger would write"},
	{`internal/.*`, `.*`, "tests and measurements may look anywhere"},
	{`cmd/worker`, `.*`, "the program wires everything"},
}

func TestImportsPointInward(t *testing.T) {
	for _, p := range packages(t) {
		t.Run(p.path(), func(t *testing.T) {
			for _, r := range rules {
				if !whole(r.from).MatchString(p.path()) {
					continue
				}
				for _, dep := range ours(p.Imports) {
					require.Regexp(t, whole(r.may), dep, "%s may not import %s: %s", p.path(), dep, r.because)
				}
				return
			}
			require.Fail(t, "no rule", "add a rule for %s: where does it belong?", p.path())
		})
	}
}

func TestLeavesNeedLittle(t *testing.T) {
	// What a leaf may use beyond the standard library and golang.org/x.
	allowed := []string{"github.com/klauspost/compress/", "github.com/gen2brain/webp"}
	for _, p := range packages(t) {
		if !whole(leaf + `|` + formats).MatchString(p.path()) {
			continue
		}
		for _, dep := range foreign(p.Imports) {
			ok := strings.HasPrefix(dep, "golang.org/x/") ||
				slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(dep, a) })
			require.True(t, ok, "%s imports %s: leaves use the standard library and golang.org/x, each exception has a reason", p.path(), dep)
		}
	}
}

func TestTheDomainHasNoTransport(t *testing.T) {
	for _, p := range packages(t) {
		if whole(`inference|` + leaf).MatchString(p.path()) {
			require.NotContains(t, p.Deps, "net/http", "%s", p.path())
		}
	}
}

func TestOnlyTheBindingHasC(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.CgoFiles) > 0 {
			require.Equal(t, "inference/sdcpp", p.path(), "%v import C", p.CgoFiles)
		}
	}
}

func TestOnlyTheProgramLinksTheEngine(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(ours(p.Deps), "inference/sdcpp") {
			require.Regexp(t, whole(`cmd/worker`), p.path())
		}
	}
}

func TestTestingStaysInTests(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, "testing") {
			require.Regexp(t, whole(`.*test|internal/vectors`), p.path(), "package testing belongs to test packages")
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		require.NotEmpty(t, p.Doc, "%s needs a package comment", p.path())
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	empty := regexp.MustCompile(`(^|/)(util|utils|common|misc|helpers?|types|interfaces|shared)$`)
	for _, p := range packages(t) {
		require.NotRegexp(t, empty, p.path())
	}
}

func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(` + pattern + `)$`) }
