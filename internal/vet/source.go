package vet

import (
	"bytes"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/kustomize/api/konfig"

	"github.com/holdfast-dev/holdfast/internal/manifest"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// sources finds the line of a field. kustomize forgets where a field came from, so it is looked for in the files that
// an overlay is built from: the object's own manifest, and the patches that have its kind and name.
type sources struct {
	tree tree.Tree
	// files are the documents of files that were parsed.
	files map[string][]document
	// overlays are the files that an overlay is built from.
	overlays map[string][]string
}

func newSources(t tree.Tree) *sources {
	return &sources{tree: t, files: map[string][]document{}, overlays: map[string][]string{}}
}

// document is one object in a file, a manifest or a patch.
type document struct {
	file string
	node *yaml.Node
	// offset is added to the node's lines: of an inline patch, the line at which it begins, less one.
	offset     int
	kind, name string
	// pointer is set on an operation of a JSON patch (RFC 6902): the path that it changes.
	pointer []string
}

// documents returns the documents of a file, as many as can be parsed.
func (s *sources) documents(file string) []document {
	docs, ok := s.files[file]
	if !ok {
		if b, err := s.tree.ReadFile(file); err == nil {
			docs = parse(file, b)
		}
		s.files[file] = docs
	}
	return docs
}

// parse parses a file of YAML documents, and the inline patches of a kustomization. What is not YAML ends it: the build
// says so where it matters.
func parse(file string, b []byte) (docs []document) {
	// The parser is foreign code that reads foreign input.
	defer func() { _ = recover() }()
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			return docs
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) != 1 {
			continue
		}
		docs = appendObjects(docs, file, n.Content[0], 0, maxItems)
		if isKustomization(file) {
			docs = appendInline(docs, file, n.Content[0])
		}
	}
}

// maxItems bounds how deep lists of objects are nested.
const maxItems = 3

// appendObjects takes up a document, and the items of a List.
func appendObjects(docs []document, file string, n *yaml.Node, offset, depth int) []document {
	n = follow(n)
	if n.Kind == yaml.SequenceNode {
		for _, operation := range n.Content {
			if pointer := text(value(operation, "path")); value(operation, "op") != nil && strings.HasPrefix(pointer, "/") {
				docs = append(docs, document{file: file, node: follow(operation), offset: offset, pointer: strings.Split(pointer[1:], "/")})
			}
		}
		return docs
	}
	if n.Kind != yaml.MappingNode {
		return docs
	}
	d := document{file: file, node: n, offset: offset, kind: text(value(n, "kind")), name: text(value(value(n, "metadata"), "name"))}
	docs = append(docs, d)
	if items := value(n, "items"); depth > 0 && strings.HasSuffix(d.kind, "List") && d.name == "" && items != nil {
		for _, item := range items.Content {
			docs = appendObjects(docs, file, item, offset, depth-1)
		}
	}
	return docs
}

// appendInline takes up the patches that are written into a kustomization.
func appendInline(docs []document, file string, kustomization *yaml.Node) []document {
	inline := func(n *yaml.Node) {
		if n == nil || n.Kind != yaml.ScalarNode || !strings.Contains(n.Value, ":") {
			return
		}
		offset := n.Line - 1
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			offset = n.Line // the text begins on the line after the sign
		}
		for _, d := range parse("", []byte(n.Value)) {
			d.file, d.offset = file, offset
			docs = append(docs, d)
		}
	}
	for _, p := range entries(value(kustomization, "patches")) {
		inline(value(p, "patch"))
	}
	for _, p := range entries(value(kustomization, "patchesStrategicMerge")) {
		inline(p)
	}
	return docs
}

func isKustomization(file string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(file))
}

// overlay lists the files that the build of a folder looks at.
func (s *sources) overlay(dir string) []string {
	files, ok := s.overlays[dir]
	if !ok {
		reads, err := render.Sources(s.tree, dir)
		if err != nil {
			reads = nil // the build fails too, and says why
		}
		for _, r := range reads {
			if r.Kind == render.File {
				files = append(files, r.Path)
			}
		}
		s.overlays[dir] = files
	}
	return files
}

// kustomization is the kustomization file of a folder.
func (s *sources) kustomization(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		file := path.Join(dir, name)
		if e, err := s.tree.Stat(file); err == nil && !e.IsDir() {
			return file
		}
	}
	return dir
}

// field finds the line of a field in the first document of a file: the field's own, or that of the nearest field around
// it.
func (s *sources) field(file string, steps ...any) position {
	docs := s.documents(file)
	if len(docs) == 0 {
		return position{file: file}
	}
	line, _, _ := docs[0].find(steps, nil)
	return position{file, line}
}

// object finds the line of an object's field: in the document that has the field with the object's value, else in the
// one that comes closest; an overlay's own patch counts before what is below it, but for a field that none has, where
// the whole manifest counts before a patch. content is the object as it is built, from which entries of lists are known
// by name.
func (s *sources) object(dir string, id object.ObjMetadata, steps manifest.Path, content map[string]any) position {
	type candidate struct {
		document
		line, depth int
		equal       bool
		rank        int
	}
	var best *candidate
	for _, d := range s.declarations(dir, id) {
		c := candidate{document: d}
		var at *yaml.Node
		c.line, c.depth, at = d.find(steps, content)
		switch {
		case len(steps) == 0 || c.depth < len(steps):
			for range scalars(d.node) {
				c.rank++
			}
		case strings.HasPrefix(d.file, dir+"/"):
			c.rank = 1
		}
		c.equal = c.depth == len(steps) && at != nil && at.Kind == yaml.ScalarNode && at.Value == fmt.Sprint(get(content, steps))
		switch {
		case best == nil, c.depth > best.depth,
			c.depth == best.depth && c.equal && !best.equal,
			c.depth == best.depth && c.equal == best.equal && c.rank > best.rank:
			best = &c
		}
	}
	for _, d := range s.operations(dir, steps) {
		if best == nil || len(d.pointer) > best.depth {
			best = &candidate{document: d, line: d.node.Line + d.offset, depth: len(d.pointer)}
		}
	}
	if best == nil {
		return position{file: s.kustomization(dir)}
	}
	return position{best.file, best.line}
}

// operations are the operations of JSON patches that change a field, or one around it. Which object they are for their
// kustomization knows.
func (s *sources) operations(dir string, steps manifest.Path) (found []document) {
	for _, file := range s.overlay(dir) {
		for _, d := range s.documents(file) {
			if d.pointer != nil && changes(d.pointer, steps) {
				found = append(found, d)
			}
		}
	}
	return found
}

// changes tells whether a pointer leads to a field or to one around it. "-" is the end of a list, wherever that was.
func changes(pointer []string, steps []any) bool {
	if len(pointer) > len(steps) {
		return false
	}
	for i, p := range pointer {
		p = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
		if _, inList := steps[i].(int); p != fmt.Sprint(steps[i]) && (p != "-" || !inList) {
			return false
		}
	}
	return true
}

// variable finds the line on which an object names a variable of the cluster.
func (s *sources) variable(dir string, id object.ObjMetadata, name string) (position, bool) {
	for _, d := range s.declarations(dir, id) {
		for n := range scalars(d.node) {
			if strings.Contains(n.Value, "${"+name) {
				return position{d.file, n.Line + d.offset}, true
			}
		}
	}
	return position{}, false
}

// declarations are the documents of an object among those that an overlay is built from: manifest and patches, known by
// kind and name. Where there is none of that name, kustomize may have put something before or behind it.
func (s *sources) declarations(dir string, id object.ObjMetadata) (exact []document) {
	var similar []document
	for _, file := range s.overlay(dir) {
		for _, d := range s.documents(file) {
			switch {
			case d.kind != id.GroupKind.Kind || d.name == "": // a JSON patch has neither
			case d.name == id.Name:
				exact = append(exact, d)
			case strings.Contains(id.Name, d.name):
				similar = append(similar, d)
			}
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return similar
}

// find walks as far along the path as the document has it. It returns the line there, how many steps were taken, and
// the value.
func (d *document) find(steps []any, content any) (line, depth int, at *yaml.Node) {
	at, line = d.node, d.node.Line
	for _, step := range steps {
		var key, next *yaml.Node
		at = follow(at)
		switch step := step.(type) {
		case string:
			key, next = pair(at, step)
			m, _ := content.(map[string]any)
			content = m[step]
		case int:
			list, _ := content.([]any)
			content = nil
			if step < len(list) {
				content = list[step]
			}
			next = entry(at, step, content)
			key = next
		}
		if next == nil {
			return line + d.offset, depth, at
		}
		line, at = key.Line, next
		depth++
	}
	return line + d.offset, depth, at
}

// entry finds an entry of a list: the one that has the same name as the built one, else the one in that place.
func entry(list *yaml.Node, i int, built any) *yaml.Node {
	m, _ := built.(map[string]any)
	if name, ok := m["name"].(string); ok {
		for _, e := range entries(list) {
			if text(value(e, "name")) == name {
				return e
			}
		}
	}
	if all := entries(list); i < len(all) {
		return all[i]
	}
	return nil
}

// get returns the value at a path, nil if there is none.
func get(v any, steps []any) any {
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, ok := v.([]any)
			if !ok || step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// follow resolves an alias.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// pair finds a key of a mapping and its value; nil if there is none.
func pair(n *yaml.Node, key string) (k, v *yaml.Node) {
	n = follow(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], follow(n.Content[i+1])
		}
	}
	return nil, nil
}

func value(n *yaml.Node, key string) *yaml.Node { _, v := pair(n, key); return v }

// entries are the entries of a list.
func entries(n *yaml.Node) []*yaml.Node {
	n = follow(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// text is the text of a scalar.
func text(n *yaml.Node) string {
	n = follow(n)
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// scalars yields every scalar in a document, keys included.
func scalars(n *yaml.Node) iter.Seq[*yaml.Node] {
	return func(yield func(*yaml.Node) bool) { eachScalar(n, yield) }
}

func eachScalar(n *yaml.Node, yield func(*yaml.Node) bool) bool {
	if n.Kind == yaml.ScalarNode {
		return yield(n)
	}
	for _, below := range n.Content {
		if !eachScalar(below, yield) {
			return false
		}
	}
	return true
}
