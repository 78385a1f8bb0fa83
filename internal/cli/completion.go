package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// shells write the completion of a program for a shell.
var shells = map[string]func(w io.Writer, root *outline){"bash": bash, "zsh": zsh, "fish": fish}

// Shells are the names of the shells that WriteCompletion knows.
func Shells() []string { return slices.Sorted(maps.Keys(shells)) }

// WriteCompletion writes the script that completes verbs and flags of a program in a
// shell, and file names where a value is wanted. It reports whether it knows the shell.
func WriteCompletion[P any](w io.Writer, root *Verb[P], shell string) bool {
	write, ok := shells[shell]
	if ok {
		write(w, outlineOf(root, root.Name))
	}
	return ok
}

// deeper are the verbs by their paths, below the program.
func deeper(root *outline) []*outline { return root.all()[1:] }

func bash(w io.Writer, root *outline) {
	var paths []string
	for _, v := range deeper(root) {
		paths = append(paths, quote(v.path))
	}
	fmt.Fprintf(w, `# bash completion of %[1]s
_%[1]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at=%[1]s verbs= flags= valued= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case "$at ${COMP_WORDS[i]}" in
		%[2]s) at="$at ${COMP_WORDS[i]}" ;;
		esac
	done
	case $at in
`, root.name, strings.Join(paths, " | "))
	for _, v := range root.all() {
		var flags, valued []string
		for _, f := range v.flags {
			flags = append(flags, "--"+f.name)
			if f.value != "" {
				valued = append(valued, "--"+f.name)
			}
		}
		fmt.Fprintf(w, "\t%s)\n\t\tverbs=%s\n\t\tflags=%s\n\t\tvalued=%s\n\t\t;;\n",
			quote(v.path), quote(strings.Join(v.names(), " ")), quote(strings.Join(append(flags, "--help"), " ")), quote(strings.Join(valued, " ")))
	}
	fmt.Fprintf(w, `	esac
	COMPREPLY=()
	[[ " $valued " == *" $prev "* ]] && return
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
	fi
}
complete -o bashdefault -o default -F _%[1]s %[1]s
`, root.name)
}

func zsh(w io.Writer, root *outline) {
	var paths []string
	for _, v := range deeper(root) {
		paths = append(paths, quote(v.path))
	}
	fmt.Fprintf(w, `#compdef %[1]s
_%[1]s() {
	local at=%[1]s i
	local -a verbs flags
	for ((i = 2; i < CURRENT; i++)); do
		case "$at $words[i]" in
		(%[2]s) at="$at $words[i]" ;;
		esac
	done
	case $at in
`, root.name, strings.Join(paths, "|"))
	for _, v := range root.all() {
		var verbs, flags []string
		for _, sub := range v.verbs {
			verbs = append(verbs, quote(sub.name+":"+sub.short))
		}
		for _, f := range v.flags {
			spec := "--" + f.name + "[" + strings.NewReplacer("[", `\[`, "]", `\]`).Replace(f.text) + "]"
			if f.value != "" {
				spec += ":value:_files"
			}
			flags = append(flags, quote(spec))
		}
		fmt.Fprintf(w, "\t(%s)\n\t\tverbs=(%s)\n\t\tflags=(%s)\n\t\t;;\n", quote(v.path), strings.Join(verbs, " "), strings.Join(flags, " "))
	}
	fmt.Fprintf(w, `	esac
	(( $#verbs )) && _describe -t commands command verbs
	_arguments $flags '--help[what the command does]' '*:file:_files'
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
	_%[1]s "$@"
else
	compdef _%[1]s %[1]s
fi
`, root.name)
}

func fish(w io.Writer, root *outline) {
	fmt.Fprintf(w, `# fish completion of %[1]s
function __%[1]s_at
	set -l at %[1]s
	for word in (commandline -opc)[2..]
		switch "$at $word"
			case`, root.name)
	for _, v := range deeper(root) {
		fmt.Fprintf(w, " %s", quote(v.path))
	}
	fmt.Fprintf(w, `
				set at "$at $word"
		end
	end
	test "$at" = "$argv"
end
complete -c %[1]s -l help -d 'what the command does'
`, root.name)
	for _, v := range root.all() {
		at := quote("__" + root.name + "_at " + v.path)
		for _, sub := range v.verbs {
			fmt.Fprintf(w, "complete -c %s -f -n %s -a %s -d %s\n", root.name, at, sub.name, quote(sub.short))
		}
		for _, f := range v.flags {
			takes := ""
			if f.value != "" {
				takes = " -r"
			}
			fmt.Fprintf(w, "complete -c %s -n %s -l %s%s -d %s\n", root.name, at, f.name, takes, quote(f.text))
		}
	}
}

// quote is s as one word of any of the shells. Their single quotes differ in what a
// backslash means, so that texts go without.
func quote(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "'", "’")
	if !strings.Contains(s, `\[`) && !strings.Contains(s, `\]`) {
		s = strings.ReplaceAll(s, `\`, "")
	}
	return "'" + s + "'"
}
