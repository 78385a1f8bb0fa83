package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"sdworker/api/a1111"
	"sdworker/internal/cli"
)

// inCommandLine turns an error of the A1111 API into one for the command line: what
// is wrong with the request is a usage error that names the flag.
func inCommandLine(err error) error {
	f, ok := errors.AsType[*a1111.Fault](err)
	switch {
	case !ok:
		return err
	case f.Fields != nil:
		usage := &cli.UsageError{}
		for _, field := range f.Fields {
			usage.Errs = append(usage.Errs, fmt.Errorf("%s: %s", flagOf(field.Path), field.Message))
		}
		return usage
	case filepath.IsAbs(f.Message): // a model file, not a flag, is wrong
		return errors.New(f.Message)
	case f.Message != "" && f.Status < http.StatusInternalServerError:
		return cli.Usagef("%s", inFlags(f.Message))
	case f.Message != "":
		return errors.New(inFlags(f.Message))
	}
	return err
}

// namedFlags are the flags whose API field has another name.
func namedFlags() map[string]string {
	out := map[string]string{}
	picture, hires, init := newRequestFlags()
	for _, group := range []requestFlags{picture, hires, init} {
		for _, f := range group.list {
			out[f.field.Name] = "--" + strings.ReplaceAll(strings.ToLower(f.variable), "_", "-")
		}
	}
	return out
}

// inFlags replaces the name of an API field at the beginning of a message by that
// of its flag, where the user could not guess it.
func inFlags(message string) string {
	name, rest, ok := strings.Cut(message, " ")
	flag := namedFlags()[name]
	if !ok || flag == "" || strings.EqualFold(strings.ReplaceAll(name, "_", "-"), flag[2:]) {
		return message
	}
	return flag + " " + rest
}

// flagOf names the flag of an API field, given the path to it.
func flagOf(path []string) string {
	if len(path) == 0 {
		return "request"
	}
	name := path[len(path)-1]
	if flag := namedFlags()[name]; flag != "" {
		return flag
	}
	return "--" + strings.ReplaceAll(name, "_", "-")
}
