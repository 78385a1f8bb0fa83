package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rs/zerolog"

	"sdworker/fault"
	"sdworker/internal/cli"
	"sdworker/models/catalog"
	"sdworker/models/fetch"
)

var doctorVerb = &verb{
	Name: "doctor", Short: "check that this machine can make pictures, and say what to do where it cannot",
	Long: `It looks at the engine, the devices and their driver, memory, model folders, the
checkpoint, disk space, folders that are written to and the port, with the settings that serve would have. It ends
with status 1 where something stands in the way; notes do not count.`,
	Examples: []string{"worker doctor", "worker doctor --device cuda0 --addr 0.0.0.0:7860", "worker doctor --json"},
	New:      func() cli.Command[*program] { return new(doctorCommand) },
}

// doctorCommand is one run of worker doctor.
type doctorCommand struct {
	program *program
	common  common
	serving serverSettings
	api     apiSettings
	demo    demoSettings
	options struct {
		JSON bool `env:"JSON" doc:"print it as JSON"`
	}
}

// Settings are those of the command.
func (d *doctorCommand) Settings() []cli.Settings {
	own := []cli.Settings{{Title: "Output:", Target: &d.options}, d.serving.settings(), d.api.settings()}
	return append(own, append(d.common.settings(), d.demo.settings())...)
}

// severity of a finding.
type severity string

const (
	fine    severity = "ok"
	note    severity = "note"    // worth knowing
	problem severity = "problem" // no pictures like that
)

// finding is what one check says.
type finding struct {
	Check    string   `json:"check"`
	Severity severity `json:"severity"`
	Text     string   `json:"text"`
	Advice   string   `json:"advice,omitempty"` // what to do
}

// Run prints what is found.
func (d *doctorCommand) Run(ctx context.Context, p *program, _ *cli.Call) error {
	d.program = p
	demo, err := p.useDemo(&d.common, &d.demo)
	if err != nil {
		return err
	}
	findings := append(d.devices(ctx), d.memory(hostMemory()), d.folders(), d.model(demo), d.space())
	findings = append(append(findings, d.written()...), d.port(ctx))
	problems := 0
	for _, f := range findings {
		if f.Severity == problem {
			problems++
		}
		if !d.options.JSON {
			fmt.Fprintf(p.Out, "%-8s %-8s %s\n", f.Severity, f.Check, printable(f.Text))
			if f.Advice != "" {
				fmt.Fprintf(p.Out, "%17s %s\n", "->", f.Advice)
			}
		}
	}
	if d.options.JSON {
		if err := printJSON(p.Out, findings); err != nil {
			return err
		}
	}
	switch problems {
	case 0:
		return nil
	case 1:
		return errors.New("there is one problem")
	}
	return fmt.Errorf("there are %d problems", problems)
}

// devices checks the engine and what it computes on.
func (d *doctorCommand) devices(ctx context.Context) []finding {
	b, err := listDevices(ctx, d.program.Environ, &d.common)
	if err != nil {
		return []finding{{"engine", problem, err.Error(), "run worker version; where it dies as well, the driver or a library is broken"}}
	}
	return b.diagnose(d.common.engine.devices())
}

// diagnose checks the engine and the devices that are wanted.
func (b *build) diagnose(wanted []string) []finding {
	e := b.Engine
	if e.Backend == "none" {
		return []finding{{"engine", problem, "this program was built without the engine", "build it with: make build"}}
	}
	out := []finding{{"engine", fine, fmt.Sprintf("%s for %s, ggml %s", e.Pin, e.Backend, e.GGML), ""}}
	gpu := false
	for _, dev := range e.Devices {
		text := fmt.Sprintf("%s: %s", dev.Name, dev.Description)
		if dev.TotalBytes > 0 {
			text += fmt.Sprintf(", %d of %d MiB free", dev.FreeBytes>>20, dev.TotalBytes>>20)
		}
		if dev.Software {
			text += ", software"
		}
		out, gpu = append(out, finding{"device", fine, text, ""}), gpu || dev.GPU
		if dev.Software && slices.ContainsFunc(wanted, func(name string) bool { return strings.EqualFold(name, dev.Name) }) {
			out = append(out, finding{"device", note, dev.Name + " is a program for the CPU: much slower than DEVICE=cpu, and no measure of a GPU's speed", "DEVICE=auto takes a GPU, or the CPU itself"})
		}
	}
	for _, device := range wanted {
		if err := b.fits(device, zerolog.Nop()); err != nil && device != "cpu" {
			out = append(out, finding{"device", problem, err.Error(), cmp.Or(b.vulkanAdvice(), "nvidia-smi shows GPUs, driver and who uses them") + "; DEVICE=cpu does without"})
		}
	}
	if b.CUDA != nil && gpu {
		out = append(out, finding{"driver", fine, fmt.Sprintf("knows CUDA %s, this program uses %s", b.CUDA.Driver, b.CUDA.Runtime), ""})
	}
	if !gpu {
		text := "no GPU is used; a picture of 512x512 takes minutes"
		if e.NoGPU != "" {
			text += "; Vulkan has none: " + e.NoGPU
		}
		advice := cmp.Or(b.vulkanAdvice(), "for an NVIDIA GPU: make build BACKEND=cuda; for AMD and Intel: BACKEND=vulkan")
		out = append(out, finding{"device", note, text, advice})
	}
	return out
}

// renderNode is what a GPU of AMD or Intel is opened by.
const renderNode = "/dev/dri/renderD128"

// vulkanAdvice says how Vulkan gets a GPU; "" in a program for something else.
func (b *build) vulkanAdvice() string {
	if b.Engine.Backend != "vulkan" {
		return ""
	}
	node, err := os.OpenFile(renderNode, os.O_RDWR, 0)
	switch {
	case err == nil:
		node.Close()
	case errors.Is(err, os.ErrPermission):
		return "let this process open " + renderNode + ": a member of its group may (stat -c %G " + renderNode + " names it; docker run --group-add)"
	}
	return "apt-get install libvulkan1 mesa-vulkan-drivers for AMD and Intel; in a container also --device /dev/dri; vulkaninfo --summary shows what there is"
}

// minHostMemory is what a picture of 512x512 on a CPU needs, in bytes (README.md has
// the measurement).
const minHostMemory = 3 << 30

// memory checks what the process may use, in bytes.
func (d *doctorCommand) memory(has int64) finding {
	text := fmt.Sprintf("%d MiB may be used", has>>20)
	if has < minHostMemory {
		return finding{"memory", problem, text + fmt.Sprintf(", a picture of 512x512 on a CPU needs %d", minHostMemory>>20), "give the container or the machine more"}
	}
	return finding{"memory", fine, text, ""}
}

// folders checks where models are looked for.
func (d *doctorCommand) folders() finding {
	for _, dir := range d.common.models.configured() {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return finding{"folders", problem, fmt.Sprintf("MODELS_DIR names %s, which is no folder", dir), "create it, or mount the volume that has it"}
		}
	}
	listed := d.catalog()
	err := listed.Refresh()
	var there []string
	for _, dir := range d.common.models.roots(d.program.Environ) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			there = append(there, dir)
		}
	}
	if err != nil {
		return finding{"folders", problem, err.Error(), "let the user of this process read the folder"}
	}
	if there == nil {
		return finding{"folders", note, "there is no model folder", "worker models pull makes one, or name one by MODELS_DIR"}
	}
	return finding{"folders", fine, strings.Join(there, ", "), ""}
}

func (d *doctorCommand) catalog() *catalog.Catalog {
	return catalog.New(d.common.models.config(d.program.Environ, d.common.engine.Model))
}

// model checks the checkpoint that would be loaded; demo tells whether it is the demo
// model.
func (d *doctorCommand) model(demo bool) finding {
	if demo {
		return finding{"model", note, "the demo model, a toy, draws", "worker models pull " + fetch.Default + " fetches a real one"}
	}
	listed := d.catalog()
	_ = listed.Refresh() // folders has told
	name := d.common.engine.Model
	f, err := listed.Resolve(name)
	switch {
	case err != nil && name == "":
		return finding{"model", problem, "there is no checkpoint", "worker models pull " + fetch.Default}
	case err != nil:
		return finding{"model", problem, fault.Message(err), "worker models ls shows what there is; worker models pull fetches more"}
	}
	if err := listed.Problem(f); err != nil {
		return finding{"model", problem, fault.Message(err), "worker models verify " + printable(f.Path) + " says more; fetch it again, or choose another by MODEL"}
	}
	return finding{"model", fine, fmt.Sprintf("%s, %d MiB", f.Path, f.Bytes>>20), ""}
}

// minSpace is room for a checkpoint and its conversion, in bytes.
const minSpace = 5 << 30

// space checks the disk that fetched models go to.
func (d *doctorCommand) space() finding {
	dir, err := existing(d.common.models.fetchRoot(d.program.Environ))
	var disk syscall.Statfs_t
	if err != nil || syscall.Statfs(dir, &disk) != nil {
		return finding{"disk", note, "the disk of " + dir + " cannot be looked at", ""}
	}
	free := int64(disk.Bavail) * disk.Bsize
	text := fmt.Sprintf("%d MiB free in %s", free>>20, dir)
	if free < minSpace {
		return finding{"disk", note, text + ", little for another checkpoint", "worker models rm removes fetched ones"}
	}
	return finding{"disk", fine, text, ""}
}

// existing is a folder, or the first one above it that exists.
func existing(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, missing := os.Stat(dir); missing == nil {
			break
		}
	}
	return dir, err
}

func writable(dir string) bool {
	const write = 2
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && syscall.Access(dir, write) == nil
}

// written checks the folders that are written to, which a container may have read-only.
// Nothing is told of those that can be.
func (d *doctorCommand) written() []finding {
	var out []finding
	for _, place := range []struct{ dir, without, advice string }{
		{d.common.models.fetchRoot(d.program.Environ), "nothing can be fetched", "mount a volume there, or name another folder first in MODELS_DIR"},
		{filepath.Dir(cacheFile(d.program.Environ, "hashes")), "hashes of model files are computed at each start", "set XDG_CACHE_HOME to a folder that can"},
		{d.api.OutputDir, "requests with save_images fail", "set OUTPUT_DIR to a folder that can"},
		{filepath.Dir(d.api.OptionsFile), "options that clients change last until the end", "let OPTIONS_FILE be in a folder that can"},
	} {
		if place.dir == "" || place.dir == "." {
			continue
		}
		if dir, err := existing(place.dir); err != nil || !writable(dir) {
			out = append(out, finding{"writing", note, place.dir + " cannot be written to: " + place.without, place.advice})
		}
	}
	return out
}

// port checks that serve could listen.
func (d *doctorCommand) port(ctx context.Context) finding {
	addr := d.serving.addr()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return finding{"port", problem, fmt.Sprintf("%s cannot be listened on: %v", addr, err), "another server may run already; choose another by --addr"}
	}
	l.Close()
	return finding{"port", fine, addr + " is free", ""}
}
