package scripts

import (
	"context"
	"math"
	"slices"
	"strings"

	"sdworker/api/budget"
	"sdworker/api/sdapi/exception"
	"sdworker/api/sdapi/generation"
	"sdworker/api/sdapi/pyjson"
	"sdworker/fault"
	"sdworker/inference"
	"sdworker/inference/imageio"
)

const sdUpscaleName = "sd upscale"

// sdUpscaleArgs are the arguments of the script "SD upscale" as it lists them; the first one
// is a heading.
var sdUpscaleArgs = []generation.ScriptArg{
	{Label: "", Value: ""},
	{Label: "Tile overlap", Value: int64(64), Minimum: int64(0), Max: int64(256), Step: int64(16)},
	{Label: "Upscaler", Value: "None", Choices: generation.BuiltinUpscalers},
	{Label: "Scale Factor", Value: 2.0, Minimum: 1.0, Max: 4.0, Step: 0.05},
}

// sdUpscaleTexts are the arguments that infotexts record.
var sdUpscaleTexts = []generation.ArgText{{Key: "SD upscale overlap", Arg: 1}, {Key: "SD upscale upscaler", Arg: 2}}

// tileArgs are the arguments of the script "sd upscale".
type tileArgs struct {
	overlap  int // pixels
	upscaler string
	scale    float64
}

// readTileArgs reads the script's arguments. The first one is a heading of the page and
// carries nothing; missing ones at the end have their defaults.
func readTileArgs(c *generation.Call) (tileArgs, error) {
	r := argReader{call: c}
	args := tileArgs{overlap: r.whole(1), upscaler: "None", scale: r.number(3)}
	if r.err != nil {
		return args, r.err
	}
	names := c.Service.UpscalerNames()
	if len(c.ScriptArgs) > 2 {
		switch v := c.ScriptArgs[2].(type) {
		case string:
			args.upscaler = ""
			for _, name := range names {
				if strings.EqualFold(name, c.Service.ListedUpscaler(v)) {
					args.upscaler = name
				}
			}
			if args.upscaler == "" {
				return args, exception.Crash("ValueError", "%s is not in list", pyjson.Quoted(strings.ToLower(v)))
			}
		case int64:
			if v < 0 || int(v) >= len(names) {
				return args, exception.Crash("IndexError", "list index out of range")
			}
			args.upscaler = names[v]
		}
	}
	if !(args.scale > 0 && args.scale <= 16) || args.overlap < 0 || args.overlap >= min(c.Req.Width, c.Req.Height) {
		return args, exception.Crash("ValueError", "sd upscale takes a scale above 0 and an overlap below the tile size")
	}
	side := func(length, tile int) float64 {
		return math.Ceil((float64(length)*args.scale - float64(args.overlap)) / float64(tile-args.overlap))
	}
	source := c.Req.Init.Images[0]
	if side := args.scale * float64(max(source.W, source.H)); side >= generation.MaxExtrasSide {
		return args, fault.FieldError("script_args", "sd upscale would make a picture with a side of %.0f pixels, want less than %d", side, generation.MaxExtrasSide)
	}
	tiles := side(source.W, c.Req.Width) * side(source.H, c.Req.Height) * float64(c.Req.BatchNum)
	if tiles > inference.MaxImages {
		return args, fault.FieldError("script_args", "sd upscale would make %.0f tiles, want at most %d", tiles, inference.MaxImages)
	}
	return args, nil
}

// sdUpscale enlarges the init image, cuts it into tiles of width by height that
// overlap, makes img2img of each and joins them (A1111 scripts/sd_upscale.py).
// n_iter repeats it all with the next seed.
func sdUpscale(ctx context.Context, c *generation.Call, place *inference.Place, job inference.Job) (*generation.Outcome, error) {
	args, err := readTileArgs(c)
	if err != nil {
		return nil, err
	}
	enlarge, err := c.Service.Upscaler(args.upscaler)
	if err != nil {
		return nil, err
	}
	c.LeadTexts = generation.Entries(sdUpscaleTexts, args.overlap, args.upscaler)
	out := &inference.Result{}
	repeats := c.Req.BatchNum
	size := c.Req.Init.Images[0]
	if enlarge == nil {
		args.scale = 1
	}
	if err := budget.TakeResult(ctx, repeats, int(args.scale*float64(size.W)), int(args.scale*float64(size.H))); err != nil {
		return nil, err
	}
	err = place.Do(ctx, job, func(ctx context.Context, gen inference.Generator, hooks inference.Hooks) error {
		source := c.Req.Init.Images[0]
		if enlarge != nil {
			enlarge.Image, enlarge.Scale = source, args.scale
			var err error
			if source, err = gen.Upscale(ctx, enlarge, hooks); err != nil {
				return err
			}
		}
		grid := imageio.SplitTiles(source, c.Req.Width, c.Req.Height, args.overlap)
		batches := (len(grid.Tiles) + c.Req.BatchSize - 1) / c.Req.BatchSize
		for n := range repeats {
			seed := c.Req.Seed + int64(n)
			work := tileJob{call: c, gen: gen, hooks: hooks, out: out, done: n * batches, jobs: repeats * batches}
			if err := work.run(ctx, &grid, seed); err != nil {
				return err
			}
			if out.Interrupted {
				break
			}
		}
		return nil
	})
	return &generation.Outcome{Runs: []generation.Run{{Call: c, Result: out}}}, err
}

// tileJob makes the tiles of one picture.
type tileJob struct {
	call  *generation.Call
	gen   inference.Generator
	hooks inference.Hooks
	out   *inference.Result
	done  int // batches before this picture
	jobs  int // batches in all
}

func (t *tileJob) run(ctx context.Context, grid *imageio.TileGrid, seed int64) error {
	size := t.call.Req.BatchSize
	start := seed
	var made []imageio.RGB
	for i := 0; i < len(grid.Tiles) && !t.hooks.Control.Interrupted(); i += size {
		req := *t.call.Req
		init := *req.Init
		init.Images = grid.Tiles[i:min(i+size, len(grid.Tiles))]
		req.Init, req.BatchNum, req.Seed = &init, 1, start
		req.BatchSize = len(init.Images)
		hooks := t.hooks
		batch := t.done + i/size
		hooks.Progress = func(p inference.Progress) {
			p.Job, p.Jobs = batch, t.jobs
			t.hooks.Report(p)
		}
		res, err := t.gen.Generate(ctx, &req, hooks)
		if err != nil {
			return err
		}
		addResult(t.call, t.out, res)
		for _, m := range res.Images {
			made = append(made, m.Pixels)
		}
		start++ // A1111 goes on from the first seed of the batch
	}
	for len(made) < len(grid.Tiles) { // interrupted: what is missing is black
		made = append(made, imageio.NewRGB(t.call.Req.Width, t.call.Req.Height))
	}
	t.out.Images = append(t.out.Images, inference.Image{Pixels: grid.Join(made), Seed: seed, Subseed: t.call.Req.Subseed})
	return nil
}

// addResult adds to o what the result of a tile has beside its pictures.
func addResult(c *generation.Call, o, res *inference.Result) {
	o.Interrupted = o.Interrupted || res.Interrupted
	o.Skipped = o.Skipped || res.Skipped
	if o.UsedLoRAs == nil {
		o.UsedLoRAs, o.UsedEmbeddings, o.PaddedConds = res.UsedLoRAs, res.UsedEmbeddings, res.PaddedConds
		o.Comments, o.Files = res.Comments, res.Files
	}
	if !slices.Equal(o.Files, res.Files) {
		c.Note("a model file was replaced between two tiles of the picture")
	}
	generation.AddTimings(&o.Timings, res.Timings)
}
