package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxSize bounds the configuration file, in bytes: a ConfigMap holds no more.
const maxSize = 1 << 20

// File is a configuration file as it was read.
type File struct {
	// Path is only for messages.
	Path string
	// Content is the YAML text.
	Content []byte
}

// Read reads the file at path. A file that is not there is an error too: whoever names a
// configuration file means it.
func Read(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	if len(content) > maxSize {
		return nil, fmt.Errorf("read configuration %s: larger than %d bytes", path, maxSize)
	}
	return &File{Path: path, Content: content}, nil
}

// fill sets the flags that are not in set, and checks all keys.
func (f *File) fill(flags *pflag.FlagSet, set map[string]bool) (errs []error) {
	fail := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %w", f.Path, line, fmt.Errorf(format, args...)))
	}
	root, err := f.parse()
	if err != nil {
		return []error{err}
	}
	if root == nil {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		fail(root.Line, "want keys and values, such as poll: 15s")
		return errs
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		name := key.Value
		flag := flags.Lookup(name)
		switch {
		case key.Kind != yaml.ScalarNode:
			fail(key.Line, "a key must be a word")
		case flag == nil || skipped(name):
			fail(key.Line, "unknown key %q%s", name, suggest(name, flags))
		case name == "config":
			fail(key.Line, "the key %q has no place in the file itself", name)
		case seen[name] > 0:
			fail(key.Line, "key %q is there already, in line %d", name, seen[name])
		case value.Kind != yaml.ScalarNode:
			fail(value.Line, "%s: want one plain value", name)
		case value.Tag == "!!null":
			fail(value.Line, "%s: has no value (write \"\" for an empty one)", name)
		case set[name]:
			// Overruled by the command line or the environment.
		default:
			if err := flags.Set(name, value.Value); err != nil {
				fail(value.Line, "%s: %w", name, plain(err))
			}
		}
		seen[name] = key.Line
	}
	return errs
}

// yamlLine finds the line that the YAML library speaks of.
var yamlLine = regexp.MustCompile(`line (\d+): `)

// parse returns the file's only document, nil if it is empty.
func (f *File) parse() (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(f.Content))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil //nolint:nilnil // an empty file is a file without settings
	}
	if err != nil {
		return nil, f.syntax(err)
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, f.syntax(err)
	default:
		return nil, fmt.Errorf("%s:%d: only one YAML document is allowed", f.Path, more.Line)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil //nolint:nilnil // nothing but comments
	}
	return doc.Content[0], nil
}

// syntax puts the line of a YAML error where editors look for it.
func (f *File) syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := yamlLine.FindStringSubmatchIndex(text); m != nil {
		if n, err := strconv.Atoi(text[m[2]:m[3]]); err == nil {
			line = n
		}
		text = text[:m[0]] + text[m[1]:]
	}
	return fmt.Errorf("%s:%d: not YAML: %s", f.Path, line, text)
}
