package gitsource

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// state is what the data dir remembers beside the clone. Replacing the file is what makes a new store
// the current one.
type state struct {
	// URL and Branch are what the rest is about; of another repository nothing is used.
	URL    string `json:"url"`
	Branch string `json:"branch"`
	// Store is the name of the current store's directory below git/.
	Store string `json:"store"`
	// Commit is the last verified commit.
	Commit string `json:"commit"`
	// Abandoned are commits whose loss by a rewritten branch was acknowledged, newest last.
	Abandoned []string `json:"abandoned,omitempty"`
	// Bytes is the store's size when it was cloned.
	Bytes int64 `json:"bytes"`
}

// maxAbandoned bounds the memory of acknowledged rewrites.
const maxAbandoned = 20

const stateFile = "state.json"

// readState returns the zero state when there is none; a file that cannot be decoded gives an error.
func readState(dir string) (state, error) {
	var s state
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the data dir: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return state{}, fmt.Errorf("%w: %w", errBadState, err)
	}
	if s.Commit != "" && !fullSHA.MatchString(s.Commit) || s.Store != filepath.Base(s.Store) && s.Store != "" || s.Store == ".." {
		return state{}, errBadState
	}
	return s, nil
}

var errBadState = errors.New("state.json of the data dir is damaged")

func writeState(dir string, s state) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the data dir: %w", err)
	}
	return writeFileAtomic(filepath.Join(dir, stateFile), append(b, '\n'))
}
