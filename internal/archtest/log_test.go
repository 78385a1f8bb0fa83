package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// logStarts are methods that begin a line of the log, or the fields of all lines of a
// logger.
var logStarts = []string{"Trace", "Debug", "Info", "Warn", "Error", "WithLevel", "With"}

// logFields are the names of fields in the log calls of a file, with the method that
// adds each. A line that is put together in several statements is a variable event.
func logFields(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if name, method, ok := literal(call); ok && startsLog(call) {
			out[name] = method
		}
		return true
	})
	return out
}

// literal is the first argument of a method call that is a text.
func literal(call *ast.CallExpr) (text, method string, ok bool) {
	f, isMethod := call.Fun.(*ast.SelectorExpr)
	if !isMethod || len(call.Args) != 2 {
		return "", "", false
	}
	arg, isLiteral := call.Args[0].(*ast.BasicLit)
	if !isLiteral || arg.Kind != token.STRING {
		return "", "", false
	}
	text, err := strconv.Unquote(arg.Value)
	return text, f.Sel.Name, err == nil
}

// startsLog follows a chain of calls to its beginning.
func startsLog(call *ast.CallExpr) bool {
	for {
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		if variable, ok := f.X.(*ast.Ident); ok && variable.Name == "event" {
			return true
		}
		before, ok := f.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		if start, ok := before.Fun.(*ast.SelectorExpr); ok && slices.Contains(logStarts, start.Sel.Name) {
			return true
		}
		call = before
	}
}

var logRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")

// TestLogFieldsHaveOneSpelling compares the names in the code with the table of
// CONTRIBUTING.md: a name that says the same as another one must not slip in.
func TestLogFieldsHaveOneSpelling(t *testing.T) {
	page := read(t, filepath.Join(root, "CONTRIBUTING.md"))
	_, table, ok := strings.Cut(page, "## Fields of the log")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n## ")
	var known []string
	for _, m := range logRow.FindAllStringSubmatch(table, -1) {
		known = append(known, m[1])
	}
	require.NotEmpty(t, known)
	used := map[string]bool{}
	for _, folder := range []string{"api", "cmd", "fault", "formats", "inference", "internal", "models"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for name, method := range logFields(t, path) {
				used[name] = true
				require.Contains(t, known, name, "%s: a field of the log that CONTRIBUTING.md does not list", path)
				require.Equal(t, method == "Dur", strings.HasSuffix(name, "_ms"), "%s: %s: a duration is a Dur in milliseconds", path, name)
			}
			return nil
		}))
	}
	for _, name := range known {
		require.True(t, used[name], "CONTRIBUTING.md lists %s, which nothing logs", name)
	}
}
