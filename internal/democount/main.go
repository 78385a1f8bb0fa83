// Command democount lets the program draw prompts with the demo model and counts in how
// many pictures the judge finds what the prompt says. It prints the tables of
// docs/demo-model.md:
//
//	go run ./internal/democount            one thing, two things: 160 pictures
//	go run ./internal/democount -samplers  each sampler in turn
//
// Pictures stay in a folder, and those that are there already are not drawn again.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"sdworker/inference/imageio"
	"sdworker/inference/sampler"
	"sdworker/internal/judge"
	"sdworker/models/demo"
)

//go:embed prompts/one.txt
var oneThing string

//go:embed prompts/two.txt
var twoThings string

// counter draws and judges.
type counter struct {
	worker, checkpoint, out string
	side, only              int
}

// chunk is how many pictures a run of the program makes. All have one seed.
const chunk = 12

// tally says how many pictures are right, by question.
type tally struct {
	pictures                                     int
	object, colour, object2, colour2, place, all int
	wrong                                        []string
}

func main() {
	c := counter{}
	flag.StringVar(&c.worker, "worker", "bin/worker", "the program")
	flag.StringVar(&c.checkpoint, "checkpoint", "", "a checkpoint in place of the demo model")
	flag.StringVar(&c.out, "out", "out/democount", "folder of the pictures")
	flag.IntVar(&c.side, "side", demo.Side, "of the pictures in pixels, a multiple of 64")
	every := flag.Int("every", 1, "take only each nth prompt")
	flag.IntVar(&c.only, "things", 0, "count prompts of this many things only, 1 or 2")
	samplers := flag.Bool("samplers", false, "compare the samplers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := c.things
	if *samplers {
		run = c.samplers
	}
	if err := run(ctx, *every); err != nil {
		fmt.Fprintln(os.Stderr, "democount:", err)
		os.Exit(1)
	}
}

// things counts by the number of things in a prompt.
func (c counter) things(ctx context.Context, every int) error {
	fmt.Println("| | prompts | thing | colour | second thing | its colour | place | all right |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	var wrong []string
	for i, group := range []struct{ name, prompts string }{{"one thing", oneThing}, {"two things", twoThings}} {
		if c.only != 0 && c.only != i+1 {
			continue
		}
		t, err := c.count(ctx, each(lines(group.prompts), every), demo.Sampler)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %s | %s | %s | %s | %s | %s |\n", group.name, t.pictures, t.share(t.object), t.share(t.colour), t.share(t.object2), t.share(t.colour2), t.share(t.place), t.share(t.all))
		wrong = append(wrong, t.wrong...)
	}
	fmt.Println("\nWrong:")
	for _, line := range wrong {
		fmt.Println("-", line)
	}
	return nil
}

// samplers counts by sampler, over prompts of one thing.
func (c counter) samplers(ctx context.Context, every int) error {
	fmt.Println("| sampler | prompts | thing | colour | place | all right |")
	fmt.Println("| --- | --- | --- | --- | --- | --- |")
	for _, s := range sampler.All() {
		if s.Later {
			continue
		}
		t, err := c.count(ctx, each(lines(oneThing), every), s.Name)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %s | %s | %s | %s |\n", s.Name, t.pictures, t.share(t.object), t.share(t.colour), t.share(t.place), t.share(t.all))
	}
	return nil
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

func each(list []string, n int) (out []string) {
	for i := 0; i < len(list); i += n {
		out = append(out, list[i])
	}
	return out
}

// count draws prompts with a sampler, 20 steps and CFG 7, and judges the pictures.
func (c counter) count(ctx context.Context, prompts []string, sampler string) (tally, error) {
	var t tally
	for part := range slices.Chunk(prompts, chunk) {
		dir := filepath.Join(c.out, fmt.Sprintf("%d", c.side), sampler, strings.ReplaceAll(part[0], " ", "-"))
		paths, err := c.draw(ctx, dir, part, sampler, 100+t.pictures)
		if err != nil {
			return t, err
		}
		for i, path := range paths {
			if err := t.look(path, part[i]); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// draw returns the paths of a picture of each prompt.
func (c counter) draw(ctx context.Context, dir string, prompts []string, sampler string, seed int) ([]string, error) {
	find := func() ([]string, error) { return filepath.Glob(filepath.Join(dir, "*.png")) } // numbered, so in order
	if paths, err := find(); err != nil || len(paths) == len(prompts) {
		return paths, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "prompts.txt")
	if err := os.WriteFile(list, []byte(strings.Join(prompts, "\n")), 0o600); err != nil {
		return nil, err
	}
	args := []string{
		"generate", "--prompts", list, "--output", dir, "--quiet", "--seed", fmt.Sprint(seed), "--sampler", sampler, "--cfg-scale", "7",
		"--steps", fmt.Sprint(demo.Steps), "--width", fmt.Sprint(c.side), "--height", fmt.Sprint(c.side),
	}
	if c.checkpoint == "" {
		args = append(args, "--demo")
	} else {
		args = append(args, "--model", c.checkpoint)
	}
	cmd := exec.CommandContext(ctx, c.worker, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	paths, err := find()
	if err == nil && len(paths) != len(prompts) {
		err = fmt.Errorf("%s made %d pictures of %d prompts", cmd, len(paths), len(prompts))
	}
	return paths, err
}

// look judges one picture.
func (t *tally) look(path, prompt string) error {
	want, err := judge.Expect(prompt)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	picture, err := imageio.Decode(data, 1<<24)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	got, err := judge.Look(picture.RGB([3]uint8{}))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	t.pictures++
	for n, same := range map[*int]bool{
		&t.object: got.Object == want.Object, &t.colour: got.Colour == want.Colour, &t.object2: got.Object2 == want.Object2,
		&t.colour2: got.Colour2 == want.Colour2, &t.place: got.Place == want.Place, &t.all: got == want,
	} {
		if same {
			*n++
		}
	}
	if got != want {
		t.wrong = append(t.wrong, fmt.Sprintf("%s: the judge sees %+v in %s", prompt, got, path))
	}
	return nil
}

func (t *tally) share(n int) string {
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(t.pictures))
}
