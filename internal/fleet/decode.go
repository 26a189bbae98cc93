package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

const (
	// maxFileSize bounds a file in bytes. The largest sensible file is a thousand times smaller.
	maxFileSize = 1 << 20
	// maxNodes bounds the YAML nodes visited in one file, each alias counted as often as it is used.
	maxNodes = 100_000
	// maxIssues bounds what is reported of one file.
	maxIssues = 100
)

// document is one of the three kinds.
type document interface {
	kind() string
	validate(r *report)
}

// decode decodes one file's content into doc and returns everything that is wrong with it. It depends
// on nothing but data. On an issue doc holds what could be read, which is enough for a name.
func decode(data []byte, doc document) *report {
	r := &report{lines: map[string]int{}}
	if len(data) > maxFileSize {
		r.add(Unreadable, 0, "", "is larger than %d bytes", maxFileSize)
		return r
	}
	root, err := parse(data)
	if err != nil {
		r.add(Unreadable, syntaxLine(err), "", "%s", syntaxMessage(err))
		return r
	}
	d := &decoder{report: r, budget: maxNodes}
	if !d.isKind(root, doc) {
		return r
	}
	d.value("", root, reflect.ValueOf(doc).Elem())
	r.judgeValues()
	doc.validate(r)
	slices.SortStableFunc(r.issues, func(a, b issue) int { return a.line - b.line })
	return r
}

// parse returns the root node of the only document in data.
func parse(data []byte) (root *yaml.Node, err error) {
	// The parser is foreign code that reads foreign input: a panic in it must stay an error of this file.
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("cannot be parsed: %v", p)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("is empty")
	} else if err != nil {
		return nil, err
	}
	switch err := decoder.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, err
	case !isNull(content(&next)):
		return nil, fmt.Errorf("line %d: holds more than one document", content(&next).Line)
	}
	return content(&doc), nil
}

// content is the node that a document node holds.
func content(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		return n.Content[0]
	}
	return n
}

var (
	syntaxForm = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)
	// grammarForm matches the errors whose line the YAML library counts from 0, unlike that of all others.
	grammarForm = regexp.MustCompile(`did not find expected (<document start>|node content|key|'-' indicator|',' or)`)
)

// syntaxLine is the line that an error of the YAML parser names, or 0.
func syntaxLine(err error) int {
	line, convErr := strconv.Atoi(syntaxForm.FindStringSubmatch(err.Error())[1])
	if convErr != nil {
		return 0
	}
	if grammarForm.MatchString(err.Error()) {
		line++
	}
	return line
}

// syntaxMessage is an error of the YAML parser without its line.
func syntaxMessage(err error) string { return syntaxForm.ReplaceAllString(err.Error(), "") }

// isKind checks what kind of file this is. Of a file of another kind nothing else is said: it would be noise.
func (d *decoder) isKind(root *yaml.Node, doc document) bool {
	if root.Kind != yaml.MappingNode {
		d.failAt(root.Line, "", "must be a mapping with apiVersion, kind, metadata and spec")
		return false
	}
	ok := true
	for _, want := range []struct{ key, value string }{{"apiVersion", APIVersion}, {"kind", doc.kind()}} {
		node := lookup(root, want.key)
		switch {
		case node == nil:
			d.add(MissingField, root.Line, want.key, "is missing, must be %s", want.value)
			ok = false
		case node.Kind != yaml.ScalarNode || node.Value != want.value:
			d.failAt(node.Line, want.key, "must be %s, is %s", want.value, quote(node.Value))
			ok = false
		}
	}
	return ok
}

// lookup returns the value of a key in a mapping node, or nil.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return follow(n.Content[i+1])
		}
	}
	return nil
}
