package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"sdworker/api/loopback"
	"sdworker/internal/cli"
)

// apiCall sends a request to a handler in memory and decodes the reply into out.
func apiCall(ctx context.Context, api http.Handler, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	reply := loopback.Post(ctx, api, path, nil, text)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if reply.Status != http.StatusOK {
		return newAPIError(reply.Status, reply.Body)
	}
	return json.Unmarshal(reply.Body, out)
}

// newAPIError turns an error body of the A1111 API into one for the command
// line: what is wrong with the request is a usage error that names the flag.
func newAPIError(status int, body []byte) error {
	var reply struct {
		Error  string          `json:"error"`
		Detail json.RawMessage `json:"detail"`
		Errors string          `json:"errors"`
	}
	_ = json.Unmarshal(body, &reply) // what cannot be read is shown as it is
	var faults []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(reply.Detail, &faults) == nil && len(faults) > 0 {
		usage := &cli.UsageError{}
		for _, f := range faults {
			usage.Errs = append(usage.Errs, fmt.Errorf("%s: %s", flagOf(f.Loc), f.Msg))
		}
		return usage
	}
	var detail string
	_ = json.Unmarshal(reply.Detail, &detail)
	var parts []string
	for _, part := range []string{detail, reply.Errors} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	switch text := inFlags(strings.Join(parts, ": ")); {
	case text != "" && status < http.StatusInternalServerError:
		return cli.Usagef("%s", text)
	case text != "":
		return fmt.Errorf("%s", text)
	default:
		return fmt.Errorf("HTTP status %d: %s", status, bytes.TrimSpace(body))
	}
}

// inFlags replaces the name of an API field at the beginning of a message by that
// of its flag.
func inFlags(message string) string {
	name, rest, ok := strings.Cut(message, " ")
	for _, api := range apiNames {
		if ok && api == name {
			return flagOf([]any{name}) + " " + rest
		}
	}
	return message
}

// flagOf names the flag of an API field, given pydantic's path to it.
func flagOf(loc []any) string {
	if len(loc) == 0 {
		return "request"
	}
	name := fmt.Sprint(loc[len(loc)-1])
	for variable, api := range apiNames {
		if api == name {
			name = strings.ToLower(variable)
		}
	}
	return "--" + strings.ReplaceAll(name, "_", "-")
}
