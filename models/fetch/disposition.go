package fetch

import (
	"context"
	"mime"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// sentName asks the server for its name of the file. It is "" if the server does
// not say or does not answer; in the latter case the download itself will tell why.
func (f *Fetcher) sentName(ctx context.Context, src Source) string {
	resp, err := f.get(ctx, f.client(src), src.URL, src, "bytes=0-0")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return ""
	}
	return dispositionName(resp.Header.Get("Content-Disposition"))
}

var (
	extendedParameter = regexp.MustCompile(`(?i);\s*filename\*\s*=\s*([\w-]+)'[^']*'([^;\s]+)`)
	quotedParameter   = regexp.MustCompile(`(?i);\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"`)
	plainParameter    = regexp.MustCompile(`(?i);\s*filename\s*=\s*([^";]+)`)
	quotedPair        = regexp.MustCompile(`\\(.)`)
)

// dispositionName reads the file name of a Content-Disposition header as RFC 6266
// asks: filename* before filename, and of a path its last part only. Servers that
// quote too little or send UTF-8 as it is are understood, too. "" means none.
func dispositionName(header string) string {
	name := ""
	if m := extendedParameter.FindStringSubmatch(header); m != nil {
		name = decodeExtended(m[1], m[2])
	}
	if name == "" {
		if m := quotedParameter.FindStringSubmatch(header); m != nil {
			name = quotedPair.ReplaceAllString(m[1], "$1")
		} else if m := plainParameter.FindStringSubmatch(header); m != nil {
			name = strings.TrimSpace(m[1])
		}
		if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
			name = decoded
		}
		name = asUTF8(name)
	}
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	if strings.Trim(name, "./ ") == "" {
		return ""
	}
	return name
}

// decodeExtended decodes a value of RFC 5987.
func decodeExtended(charset, value string) string {
	text, err := url.PathUnescape(value)
	switch {
	case err != nil:
		return ""
	case strings.EqualFold(charset, "utf-8") && utf8.ValidString(text):
		return text
	case strings.EqualFold(charset, "iso-8859-1"):
		return fromLatin1(text)
	}
	return ""
}

// asUTF8 takes for latin-1 what is no UTF-8.
func asUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return fromLatin1(s)
}

func fromLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
