package generation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/picture"
	"sdworker/internal/atomicfile"
)

// save writes the pictures of a job into the output folder of the options, which
// must lie below Config.OutputDir: any client may set these options.
func (c *Call) save(files [][]byte, out *Output) error {
	o := c.Options
	if saves := out.outcome.Save; !o.Bool("samples_save") || saves != nil && !slices.Contains(saves, true) {
		return nil
	}
	folder := o.Text("outdir_samples")
	if folder == "" {
		folder = o.Text("outdir_" + c.Tab.Name + "_samples")
	}
	folder = filepath.FromSlash(folder)
	if o.Bool("save_to_dirs") {
		folder = filepath.Join(folder, c.fill(o.Text("directories_filename_pattern"), out, 0))
	}
	if !filepath.IsLocal(folder) {
		return fmt.Errorf("the output folder %q is not inside the server's own", folder)
	}
	base := c.Service.Config.OutputDir
	if base == "" {
		base = "."
	}
	folder = filepath.Join(base, folder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Unwritten(err)
	}
	pattern := o.Text("samples_filename_pattern")
	if pattern == "" {
		pattern = "[seed]"
		if !o.Bool("save_to_dirs") {
			pattern = "[seed]-[prompt_spaces]"
		}
	}
	next := NextNumber(folder)
	for i, data := range files[out.FirstImage:min(len(files), out.FirstImage+len(out.Seeds))] {
		if made := out.outcome.Save; i < len(made) && !made[i] {
			continue
		}
		name := c.fill(pattern, out, i) + "." + picture.FormatName(o)
		if o.Bool("save_images_add_number") {
			name = fmt.Sprintf("%05d-%s", next+i, name)
		}
		if err := atomicfile.WriteNew(filepath.Join(folder, name), data); err != nil {
			return Unwritten(err)
		}
		if o.Bool("save_txt") {
			text := strings.TrimSuffix(name, filepath.Ext(name)) + ".txt"
			if err := atomicfile.WriteNew(filepath.Join(folder, text), []byte(out.Infotexts[out.FirstImage+i]+"\n")); err != nil {
				return Unwritten(err)
			}
		}
	}
	return nil
}

// Unwritten is the error that a client gets for a file that cannot be written: the reason
// without the path.
func Unwritten(err error) error {
	var why syscall.Errno
	if !errors.As(err, &why) {
		return err
	}
	reply := exception.Crash("OSError", "%s", why)
	reply.Cause = err
	return reply
}

// NextNumber is one above the highest number that a file name in a folder begins with,
// as A1111 counts: 0 in a folder that is empty or cannot be read.
func NextNumber(folder string) int {
	highest := -1
	entries, _ := os.ReadDir(folder) // a folder that cannot be read fails on writing
	for _, e := range entries {
		digits, _, found := strings.Cut(e.Name(), "-")
		if n, err := strconv.Atoi(digits); found && err == nil {
			highest = max(highest, n)
		}
	}
	return highest + 1
}

var placeholder = regexp.MustCompile(`\[[a-z_]+\]`)

// fill replaces the placeholders of a file name pattern. Unknown ones stay.
func (c *Call) fill(pattern string, out *Output, image int) string {
	const longest = 128 // characters of a file name: --filenames-max-length
	seed := c.Req.Seed
	if image < len(out.Seeds) {
		seed = out.Seeds[image]
	}
	text := placeholder.ReplaceAllStringFunc(pattern, func(name string) string {
		switch name {
		case "[seed]":
			return strconv.FormatInt(seed, 10)
		case "[steps]":
			return strconv.Itoa(c.Req.Steps)
		case "[cfg]":
			return strconv.FormatFloat(c.Req.CFGScale, 'g', -1, 64)
		case "[width]":
			return strconv.Itoa(c.Width)
		case "[height]":
			return strconv.Itoa(c.Height)
		case "[sampler]":
			return c.Req.Sampler
		case "[model_name]":
			return c.checkpoint.Stem()
		case "[model_hash]":
			return c.checkpoint.ShortHash()
		case "[date]":
			return out.started.Format("2006-01-02")
		case "[datetime]":
			return out.started.Format(TimestampLayout)
		case "[job_timestamp]":
			return out.started.Format(TimestampLayout)
		case "[prompt_spaces]", "[prompt]":
			return c.Req.Prompt
		}
		return name
	})
	text = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`#<>:"/\|?*`, r) {
			return '_'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest])
	}
	return strings.Trim(text, ". ")
}

// TimestampLayout is A1111's job_timestamp.
const TimestampLayout = "20060102150405"
