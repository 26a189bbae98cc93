package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// TokenName is the key of the webhook secret in the credentials.
const TokenName = "webhook.token"

// maxTokenBytes bounds the secret.
const maxTokenBytes = 4096

// TokenFile returns a function that reads the webhook secret from the credentials directory, anew on every
// call, so that a rotated Secret counts at once. No directory and no file mean no secret; a file that
// cannot be read is an error. White space around the secret is dropped.
func TokenFile(dir string) func() (string, error) {
	return func() (string, error) {
		if dir == "" {
			return "", nil
		}
		file, err := os.Open(filepath.Join(dir, TokenName))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", TokenName, err)
		}
		defer func() { _ = file.Close() }()
		data, err := io.ReadAll(io.LimitReader(file, maxTokenBytes+1))
		if err != nil {
			return "", fmt.Errorf("read %s: %w", TokenName, err)
		}
		if len(data) > maxTokenBytes {
			return "", fmt.Errorf("read %s: larger than %d bytes", TokenName, maxTokenBytes)
		}
		return string(bytes.TrimSpace(data)), nil
	}
}
