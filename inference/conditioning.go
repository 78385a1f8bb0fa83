package inference

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sdworker/fault"
	"sdworker/inference/clip"
	"sdworker/inference/prompt"
	"sdworker/inference/regions"
	"sdworker/inference/sampler"
	"sdworker/internal/fileid"
)

// conditions are the encoded prompts of one pass. All images of a job have the
// same prompts.
type conditions struct {
	parts    []sampler.Part
	areas    []regions.Area // of the parts in turn, see [regions.Plan]
	until    int            // steps in which areas act; 0 = all
	negative sampler.Schedule
	states   [][]float32 // by handle: [k*77,768]
	empty    []float32   // of the empty prompt, when short ones are padded with it
}

// conditions encodes the prompts for one pass: tags are cut out and acted on,
// AND splits the prompt, each part gets its timetable, and every timetable is
// encoded as one group (setup_conds of modules/processing.py).
func (j *job) conditions(ctx context.Context, positive, negative string, timing prompt.Pass) (*conditions, error) {
	j.report(PhaseEncoding, 0, 0)
	j.eng.Begin() // others may wait a moment for it from here until the pass ends
	text, networks := prompt.ExtractNetworks(positive)
	if err := j.activate(ctx, networks); err != nil {
		return nil, err
	}
	defer j.clock(&j.res.Timings.Encode)()
	for _, name := range j.texts.named(text, negative) {
		j.comment(fmt.Sprintf("Embedding %s is read as words: %s", name, j.texts.broken[name]))
	}
	plan, err := j.req.Regions.Plan(text, negative)
	if err != nil {
		return nil, regionsError(err)
	}
	c := &conditions{until: plan.Steps}
	if hires := timing.HiresSteps > 0; hires && !plan.NotHires || !hires && !plan.NotFirst {
		c.areas = plan.Areas
	}
	for _, part := range prompt.SplitAND(plan.Prompt) {
		schedule, err := j.timetable(ctx, c, part.Text, timing)
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, sampler.Part{Weight: part.Weight, Schedule: schedule})
	}
	if c.negative, err = j.timetable(ctx, c, plan.Negative, timing); err != nil {
		return nil, err
	}
	if j.req.Settings.PadCondUncond {
		group, err := j.encodeTexts(ctx, []string{""})
		if err != nil {
			return nil, err
		}
		c.empty = group.states[0]
	}
	return c, nil
}

// masked are the parts with their areas at a size of the latent.
func (c *conditions) masked(h, w int) []sampler.Part {
	parts := slices.Clone(c.parts)
	for i := range min(len(parts), len(c.areas)) {
		parts[i].Mask = c.areas[i](h, w)
	}
	return parts
}

func regionsError(err error) error {
	return fault.FieldError("alwayson_scripts", "regional prompts: %s", err)
}

// timetable encodes one text under editing and adds its states to c.
func (j *job) timetable(ctx context.Context, c *conditions, text string, timing prompt.Pass) (sampler.Schedule, error) {
	entries := prompt.Schedule(text, timing)
	texts := make([]string, len(entries))
	for i, e := range entries {
		texts[i] = e.Text
	}
	group, err := j.encodeTexts(ctx, texts)
	if err != nil {
		return nil, err
	}
	for _, name := range group.embeddings {
		id, file := j.texts.files[name]
		if !file { // inside a LoRA, whose version is known already
			continue
		}
		if err := j.uses(id); err != nil {
			return nil, err
		}
		if !slices.Contains(j.res.UsedEmbeddings, name) {
			j.res.UsedEmbeddings = append(j.res.UsedEmbeddings, name)
		}
	}
	schedule := make(sampler.Schedule, len(entries))
	for i, e := range entries {
		schedule[i] = sampler.Entry{EndAt: e.End, Cond: len(c.states)}
		c.states = append(c.states, group.states[i])
	}
	return schedule, nil
}

// encodedGroup is what the texts of one timetable became.
type encodedGroup struct {
	states     [][]float32 // one [k*77,768] per text, k the same for all
	embeddings []string    // names of those used
}

// encodeTexts runs the text encoder over the texts of one timetable, or returns
// what it gave before.
func (j *job) encodeTexts(ctx context.Context, texts []string) (*encodedGroup, error) {
	set := &j.req.Settings
	key := condKey(texts, set, j.loras, j.files, j.texts)
	group, ok := j.eng.model.conds.get(key)
	j.pipeline.count.looked(&j.pipeline.count.prompt, ok)
	if ok {
		return group, nil
	}
	emphasis, err := clip.ParseEmphasis(set.Emphasis)
	if err != nil {
		j.comment(err.Error())
	}
	distinct, index, repeats := unique(texts)
	if len(distinct) > MaxPromptChunks {
		return nil, tooManyChunks(len(distinct))
	}
	batch, err := clip.Encode(distinct, clip.Options{Emphasis: emphasis, CommaBacktrack: set.CommaBacktrack, Embeddings: j.texts.set})
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "prompt", Field: "prompt", Msg: err.Error()}
	}
	// Each chunk is a call of the text encoder, and lengthens every call of the UNet.
	chunks := len(batch.Texts[0].Chunks)
	if chunks > MaxTextChunks {
		return nil, fault.FieldError("prompt", "a prompt of %d chunks of 75 tokens is too long, want at most %d", chunks, MaxTextChunks)
	}
	if n := chunks * len(batch.Texts); n > MaxPromptChunks {
		return nil, tooManyChunks(n)
	}
	states, err := j.encodeBatch(ctx, batch, emphasis, repeats)
	if err != nil {
		return nil, err
	}
	group = &encodedGroup{}
	for _, i := range index {
		group.states = append(group.states, states[i])
	}
	for _, e := range batch.Used {
		group.embeddings = append(group.embeddings, e.Name)
	}
	j.eng.model.conds.put(key, group)
	return group, nil
}

func tooManyChunks(n int) error {
	return fault.FieldError("prompt", "a prompt that changes with the steps has %d chunks of 75 tokens in all its texts, want at most %d", n, MaxPromptChunks)
}

// encodeBatch returns the weighted hidden states of each text, [k*77,768].
func (j *job) encodeBatch(ctx context.Context, batch *clip.Batch, emphasis clip.Emphasis, repeats []int) ([][]float32, error) {
	n, k := len(batch.Texts), len(batch.Texts[0].Chunks)
	const size = ChunkTokens * TextWidth
	vectors := make([][]float32, len(batch.Vectors)/TextWidth)
	for i := range vectors {
		vectors[i] = batch.Vectors[i*TextWidth : (i+1)*TextWidth]
	}
	states := make([][]float32, n)
	for chunk := range k {
		column := make([]clip.Chunk, n)
		in := TextInput{Vectors: vectors, Skip: j.req.Settings.ClipSkip}
		for i, text := range batch.Texts {
			column[i] = text.Chunks[chunk]
			in.Chunks = append(in.Chunks, column[i].IDs)
		}
		hidden, err := j.encodeChunks(ctx, in)
		if err != nil {
			return nil, err
		}
		emphasis.Apply(hidden, column, repeats)
		for i := range states {
			states[i] = append(states[i], hidden[i*size:(i+1)*size]...)
		}
	}
	return states, nil
}

// maxTextBatch bounds the chunks of one text encoder call, so that a prompt that
// alternates at each of many steps needs no memory of its own.
const maxTextBatch = 16

// encodeChunks calls the text encoder for groups of chunks. Groups are cut at
// fixed places, so that equal prompts meet equal kernels.
func (j *job) encodeChunks(ctx context.Context, in TextInput) ([]float32, error) {
	var out []float32
	for chunks := range slices.Chunk(in.Chunks, maxTextBatch) {
		if ctx.Err() != nil {
			return nil, fault.Stopped(ctx, "prompt")
		}
		hidden, err := j.eng.EncodeText(ctx, TextInput{Chunks: chunks, Vectors: in.Vectors, Skip: in.Skip})
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(hidden, isNaN) {
			return nil, fault.Errorf(fault.Internal, "prompt", "the text encoder produced NaN: try a higher precision or another checkpoint")
		}
		out = append(out, hidden...)
	}
	return out, nil
}

func isNaN(v float32) bool { return v != v }

// unique returns the distinct texts, for each text its index among them, and how
// often each distinct one occurs.
func unique(texts []string) (distinct []string, index, repeats []int) {
	at := map[string]int{}
	for _, t := range texts {
		i, ok := at[t]
		if !ok {
			i = len(distinct)
			at[t] = i
			distinct = append(distinct, t)
			repeats = append(repeats, 0)
		}
		repeats[i]++
		index = append(index, i)
	}
	return distinct, index, repeats
}

// condKey is equal for texts that encode to equal states. files are the versions of
// those that loras name.
func condKey(texts []string, set *Settings, loras []LoRA, files []fileid.ID, e *embeddingSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d|%q|%d|%d|", set.ClipSkip, set.Emphasis, set.CommaBacktrack, e.serial)
	for _, l := range loras {
		at := slices.IndexFunc(files, func(id fileid.ID) bool { return id.Path == l.Path })
		fmt.Fprintf(&b, "%q:%g:", l.Path, l.TextEncoder)
		if at >= 0 {
			fmt.Fprint(&b, files[at])
		}
		b.WriteByte('|')
	}
	for _, t := range texts {
		fmt.Fprintf(&b, "%d:%s", len(t), t)
	}
	return b.String()
}

// condCacheBytes bounds the prompt encodings that a model keeps: about 300
// prompts of one chunk.
const condCacheBytes = 64 << 20

// condCache keeps the groups used last. It is safe for concurrent use.
type condCache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	order   *list.List // of *condEntry, most recently used first
	bytes   int
}

type condEntry struct {
	key   string
	group *encodedGroup
	bytes int
}

func newCondCache() *condCache {
	return &condCache{entries: map[string]*list.Element{}, order: list.New()}
}

func (c *condCache) get(key string) (*encodedGroup, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*condEntry).group, true
}

func (c *condCache) put(key string, group *encodedGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; ok { // another job was faster
		return
	}
	e := &condEntry{key: key, group: group, bytes: len(key)}
	for _, s := range group.states {
		e.bytes += 4 * len(s)
	}
	c.entries[key] = c.order.PushFront(e)
	c.bytes += e.bytes
	for c.bytes > condCacheBytes && c.order.Len() > 1 {
		last := c.order.Remove(c.order.Back()).(*condEntry)
		delete(c.entries, last.key)
		c.bytes -= last.bytes
	}
}
