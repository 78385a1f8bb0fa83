// Package clip turns prompt text into what the text encoder of Stable Diffusion 1.x takes,
// as AUTOMATIC1111 v1.9.3 does: tokens of CLIP ViT-L/14 in chunks of 75 between a begin and
// an end token, a weight for each token, and textual inversion embeddings in place of
// their names.
//
// [Encode] does the whole of it for the texts of one timetable. The text encoder turns each
// chunk into hidden states, [77, 768], which [Emphasis.Apply] weighs; those of a text's
// chunks, one after the other, are its conditioning, [77 n, 768].
//
// One call of the UNet takes conditionings of one length only. The parts of AND and the
// prompts of a batch are brought to the longest one's length by [PadLast]. The negative
// prompt keeps its own length and goes into a call of its own when that differs, unless
// option pad_cond_uncond asks for [PadEmpty] of the shorter of the two, or
// pad_cond_uncond_v0 for the length of the prompt: PadLast, or a cut.
package clip
