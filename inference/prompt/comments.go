package prompt

import "regexp"

var (
	commentLine = regexp.MustCompile(`(^|\n)#[^\n]*(\n|$)`)
	commentTail = regexp.MustCompile(`#[^\n]*(\n|$)`)
)

// StripComments replaces comments, from # to the end of the line, by a line break each.
// Comments that fill a line go first, together with the line breaks on both sides.
func StripComments(text string) string {
	text = commentLine.ReplaceAllLiteralString(text, "\n")
	return commentTail.ReplaceAllLiteralString(text, "\n")
}
