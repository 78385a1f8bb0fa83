// Package prompt reads the prompt language of AUTOMATIC1111 v1.9.3.
//
// The order of work for one request is:
//
//  1. [ApplyStyles] merges the styles' texts with the prompt.
//  2. [StripComments] drops "# ..." comments.
//  3. [ExtractNetworks] cuts out <type:args> tags; [LoRAs] reads those that name a LoRA.
//     The tags of the first prompt of a batch count for the whole batch.
//  4. [SplitAND] divides a positive prompt into weighted parts. A negative prompt is not divided.
//  5. [Schedule] turns [before:after:when] and [a|b] of each part into a timetable of
//     plain texts, and [Active] picks the entry of a step.
//  6. [ParseAttention] turns one plain text into weighted spans. Package clip does this
//     step itself when it cuts a text into chunks of tokens.
//
// Every parser takes any string, in time linear in its length, and gives back some reading
// of it: what has no meaning in the language stays literal text. The only inputs refused
// are numbers that cannot be read, see [ParseAttention] and [ParseLoRA].
package prompt
