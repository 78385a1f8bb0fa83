package cli

import (
	"fmt"
	"io"
	"strings"
)

// Page is a manual page.
type Page struct {
	Name string // of the file, such as worker-models-pull.1
	root *outline
	verb *outline
}

// Pages are the manual pages of a program: one for each of its verbs.
func Pages[P any](root *Verb[P]) []Page {
	top := outlineOf(root, root.Name)
	var pages []Page
	for _, v := range top.all() {
		pages = append(pages, Page{Name: dashed(v.path) + ".1", root: top, verb: v})
	}
	return pages
}

func dashed(path string) string { return strings.ReplaceAll(path, " ", "-") }

// Write writes the page in the language of man(7). version stands at its foot.
func (p Page) Write(w io.Writer, version string) error {
	v := p.verb
	m := &manual{w: w}
	m.line(".TH %s 1 \"\" %s", roff(strings.ToUpper(dashed(v.path))), roff(p.root.name+" "+version))
	m.section("NAME")
	m.line(`%s \- %s`, roff(dashed(v.path)), roff(strings.TrimPrefix(v.short, v.path+" ")))
	m.section("SYNOPSIS")
	if v.runs {
		m.line(`.B %s`, roff(v.path))
		m.line("%s", roff(strings.TrimSpace("[flags] "+v.args)))
	}
	if len(v.verbs) > 0 {
		if v.runs {
			m.line(".br")
		}
		m.line(`.B %s`, roff(v.path))
		m.line("%s", roff("COMMAND [flags]"))
	}
	if v.long != "" {
		m.section("DESCRIPTION")
		m.paragraphs(v.long)
	}
	if len(v.verbs) > 0 {
		m.section("COMMANDS")
		for _, sub := range v.verbs {
			m.item(sub.name, "", sub.short)
		}
	}
	group := "\x00"
	for _, f := range v.flags {
		if f.group != group {
			group = f.group
			m.section(strings.ToUpper(strings.TrimSuffix(group, ":")))
		}
		m.item("--"+f.name, f.value, f.text)
	}
	if len(v.lines) > 0 {
		m.section("EXAMPLES")
		for _, line := range v.lines {
			m.line(".PP\n.nf\n%s\n.fi", roff(line))
		}
	}
	m.section("EXIT STATUS")
	m.line("0 when all went well, 1 after an error, 2 after a mistake in the command line or a setting, 128 and the number of the signal that ended it.")
	m.section("SEE ALSO")
	var others []string
	for _, o := range p.root.all() {
		if o != v && (o == p.root || strings.HasPrefix(o.path, v.path+" ") || strings.HasPrefix(v.path, o.path+" ")) {
			others = append(others, roff(dashed(o.path))+"(1)")
		}
	}
	m.line("%s", strings.Join(others, ",\n"))
	return m.err
}

// manual writes lines until one fails.
type manual struct {
	w   io.Writer
	err error
}

func (m *manual) line(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.w, format+"\n", args...)
	}
}

func (m *manual) section(title string) {
	if title == "" {
		title = "FLAGS"
	}
	m.line(".SH %s", roff(title))
}

func (m *manual) item(name, value, text string) {
	m.line(".TP")
	m.line(`\fB%s\fR%s`, roff(name), roff(value))
	m.line("%s", roff(text))
}

// paragraphs keeps the division of a text by empty lines, and lines that are indented.
func (m *manual) paragraphs(text string) {
	for part := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(part, " ") {
			m.line(".PP\n.nf\n%s\n.fi", roff(part))
			continue
		}
		m.line(".PP\n%s", roff(part))
	}
}

// roff is a text without meaning to roff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
