package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sdworker/models/diskread"
)

// digest opens a file and hashes what follows the offset that start returns.
// It fails when the file changes meanwhile.
func digest(ctx context.Context, path string, start func(*os.File) (int64, error)) (string, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	offset, err := start(f)
	if err != nil {
		return "", nil, err
	}
	sum, _, err := diskread.SHA256(ctx, f, offset)
	if err != nil {
		return "", nil, err
	}
	after, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return "", nil, fmt.Errorf("%s changed while it was hashed", path)
	}
	return sum, before, nil
}

// wholeFile hashes from the first byte.
func wholeFile(*os.File) (int64, error) { return 0, nil }

// afterHeader hashes the values of a safetensors file without its header, as
// kohya's trainers do, so that a note in the metadata does not change a LoRA's
// name.
func afterHeader(f *os.File) (int64, error) {
	var length [8]byte
	if _, err := f.ReadAt(length[:], 0); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > 1<<40 {
		return 0, errors.New("no safetensors header")
	}
	return 8 + int64(n), nil
}

// oldHash is the eight-digit hash of the first A1111 versions: of 64 KiB that begin
// one megabyte into the file. It says little but is still in use for ControlNets.
func oldHash(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	sample, err := io.ReadAll(io.NewSectionReader(f, 0x100000, 0x10000))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(sample)
	return hex.EncodeToString(sum[:4])
}

// Digest returns the sha256 of a whole file in hex.
func Digest(ctx context.Context, path string) (string, error) {
	sum, _, err := digest(ctx, path, wholeFile)
	return sum, err
}

// IsSHA256 tells whether s is a sha256 in lower-case hex.
func IsSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
