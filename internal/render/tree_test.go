package render

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // Git's own hash, for the test's tree
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// memTree is a tree of files in memory. A content of the form "-> target" is a symbolic link.
type memTree map[string]string

var _ tree.Tree = memTree{}

// archive makes a memTree of a txtar archive.
func archive(t testing.TB, text string) memTree {
	t.Helper()
	m := memTree{}
	for _, f := range txtar.Parse([]byte(text)).Files {
		m[f.Name] = string(f.Data)
	}
	return m
}

// with returns a copy with one file changed.
func (m memTree) with(name, content string) memTree {
	c := memTree{}
	for k, v := range m {
		c[k] = v
	}
	c[name] = content
	return c
}

var errEscapes = errors.New("symbolic link leaves the repository")

// resolve follows links.
func (m memTree) resolve(name string) (string, error) {
	done := ""
	rest := strings.Split(path.Clean(name), "/")
	for hops := 0; len(rest) > 0; {
		next := path.Join(done, rest[0])
		rest = rest[1:]
		target, ok := strings.CutPrefix(m[next], "-> ")
		if !ok {
			done = next
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s: too many links", name)
		}
		to := path.Join(path.Dir(next), strings.TrimSpace(target))
		if path.IsAbs(strings.TrimSpace(target)) || to == ".." || strings.HasPrefix(to, "../") {
			return "", fmt.Errorf("%s: %w", next, errEscapes)
		}
		rest = append(strings.Split(to, "/"), rest...)
		done = ""
	}
	return path.Clean(done), nil
}

func (m memTree) Stat(name string) (tree.Entry, error) {
	at, err := m.resolve(name)
	if err != nil {
		return tree.Entry{}, err
	}
	if b, ok := m[at]; ok {
		return tree.Entry{Name: path.Base(at), Path: at, Hash: digest(b)}, nil
	}
	var all []string
	for k, v := range m {
		if at == "." || strings.HasPrefix(k, at+"/") {
			all = append(all, k+"\x00"+v)
		}
	}
	if len(all) == 0 {
		return tree.Entry{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	sort.Strings(all)
	return tree.Entry{Name: path.Base(at), Path: at, Mode: fs.ModeDir, Hash: digest(strings.Join(all, "\x00"))}, nil
}

func (m memTree) ReadFile(name string) ([]byte, error) {
	at, err := m.resolve(name)
	if err != nil {
		return nil, err
	}
	b, ok := m[at]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(b), nil
}

func (m memTree) ReadDir(name string) ([]tree.Entry, error) {
	seen := map[string]bool{}
	var entries []tree.Entry
	at, err := m.resolve(name)
	if err != nil {
		return nil, err
	}
	name = at
	for k := range m {
		rest, ok := strings.CutPrefix(k, name+"/")
		if name == "." {
			rest, ok = k, true
		}
		first, _, _ := strings.Cut(rest, "/")
		if !ok || seen[first] {
			continue
		}
		seen[first] = true
		if target, ok := strings.CutPrefix(m[path.Join(name, first)], "-> "); ok {
			entries = append(entries, tree.Entry{Name: first, Path: path.Join(name, first), Mode: fs.ModeSymlink, Hash: digest(target)})
			continue
		}
		e, err := m.Stat(path.Join(name, first))
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, nil
}

func digest(s string) tree.Hash { return sha1.Sum([]byte(s)) } //nolint:gosec // as above

// parseAll parses a YAML stream.
func parseAll(b []byte) (nodes []*yaml.Node, err error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			if errors.Is(err, io.EOF) {
				return nodes, nil
			}
			return nil, err
		}
		nodes = append(nodes, n.Content...)
	}
}
