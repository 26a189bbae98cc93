package fleet

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// issue is one thing that is wrong, before it is known in which file.
type issue struct {
	line    int
	message string
}

// report collects what is wrong with one file, and remembers on which line each field stands.
type report struct {
	issues []issue
	lines  map[string]int // by field path, such as spec.overlays[1].path
}

// fail records what is wrong with the field at that path. The line is the field's, or that of the
// nearest field around it.
func (r *report) fail(field, format string, args ...any) {
	line := 0
	for at := field; line == 0 && at != ""; at = parent(at) {
		line = r.lines[at]
	}
	r.failAt(line, field, format, args...)
}

func (r *report) failAt(line int, field, format string, args ...any) {
	if len(r.issues) >= maxIssues {
		return
	}
	message := fmt.Sprintf(format, args...)
	if field != "" {
		message = field + ": " + message
	}
	r.issues = append(r.issues, issue{line: line, message: message})
}

// parent is the path of the field around a field: spec.overlays[1].path, spec.overlays[1], spec.overlays, spec.
func parent(field string) string { return field[:max(strings.LastIndexAny(field, ".["), 0)] }

// decode decodes one file's content into doc and returns everything that is wrong with it. It depends
// on nothing but data. On an issue doc holds what could be read, which is enough for a name.
func decode(data []byte, doc document) *report {
	r := &report{lines: map[string]int{}}
	if len(data) > maxFileSize {
		r.failAt(0, "", "is larger than %d bytes", maxFileSize)
		return r
	}
	root, err := parse(data)
	if err != nil {
		r.failAt(syntaxLine(err), "", "%s", syntaxMessage(err))
		return r
	}
	d := &decoder{report: r, budget: maxNodes}
	if !d.isKind(root, doc) {
		return r
	}
	d.value("", root, reflect.ValueOf(doc).Elem())
	if len(r.issues) == 0 {
		doc.validate(r)
	}
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

// decoder walks a YAML node and a Go value of a known type at once. The type bounds the depth.
type decoder struct {
	*report
	budget int
}

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
			d.failAt(root.Line, want.key, "is missing, must be %s", want.value)
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

// follow resolves an alias. A chain of aliases cannot be written in YAML.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// value decodes n into v, which is addressable. The caller has recorded the line of the field.
func (d *decoder) value(field string, n *yaml.Node, v reflect.Value) {
	if !d.spend() {
		return
	}
	n = follow(n)
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(field, n, text)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(field, n, p.Elem())
		v.Set(p)
	case reflect.Struct:
		d.structure(field, n, v)
	case reflect.Slice:
		d.list(field, n, v)
	case reflect.Map:
		d.stringMap(field, n, v)
	case reflect.String:
		d.str(field, n, v)
	case reflect.Bool:
		if d.scalar(field, n, "true or false", "!!bool") {
			v.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case reflect.Int, reflect.Int32:
		d.integer(field, n, v)
	default:
		// A type that nobody taught the decoder: a mistake in this package that its tests find.
		d.fail(field, "cannot be decoded: unsupported type %s", v.Type())
	}
}

// spend counts one visited node and tells whether there may be more.
func (d *decoder) spend() bool {
	d.budget--
	if d.budget == 0 {
		d.failAt(0, "", "holds more than %d values, aliases counted as often as they are used", maxNodes)
	}
	return d.budget > 0
}

// structure decodes a mapping into a struct and refuses what the struct does not know.
func (d *decoder) structure(field string, n *yaml.Node, v reflect.Value) {
	selector := v.Type() == reflect.TypeFor[Selector]()
	if isNull(n) && !selector {
		n = &yaml.Node{Kind: yaml.MappingNode} // a section whose lines are all commented out
	}
	if n.Kind != yaml.MappingNode {
		hint := ""
		if selector {
			hint = "; {} selects every cluster"
		}
		d.fail(field, "must be a mapping, is %s%s", describe(n), hint)
		return
	}
	known := fieldsOf(v.Type())
	seen := map[string]bool{}
	before := len(d.issues)
	for key, value := range d.entries(field, n) {
		at := join(field, key.Value)
		info, ok := known[key.Value]
		if !ok {
			d.failAt(key.Line, at, "unknown field%s", suggestion(key.Value, known))
			continue
		}
		seen[key.Value] = true
		d.lines[at] = key.Line
		if inSelector(v.Type()) && isNull(follow(value)) {
			d.fail(at, "has no value") // would silently widen the selection
			continue
		}
		d.value(at, value, v.FieldByIndex(info.index))
	}
	for _, name := range required(v.Type()) {
		if !seen[name] {
			d.fail(join(field, name), "is missing")
		}
	}
	if selector && len(d.issues) == before {
		s, _ := v.Addr().Interface().(*Selector)
		if _, err := metav1.LabelSelectorAsSelector(&s.LabelSelector); err != nil {
			d.fail(field, "%s", oneLine(err.Error()))
		}
	}
}

// inSelector tells whether a type is a label selector or a part of one.
func inSelector(t reflect.Type) bool {
	return t == reflect.TypeFor[Selector]() || t == reflect.TypeFor[metav1.LabelSelectorRequirement]()
}

// entries yields the keys and values of a mapping, and reports keys that are no strings or come twice.
func (d *decoder) entries(field string, n *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		first := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := follow(n.Content[i]), n.Content[i+1]
			line := n.Content[i].Line
			switch {
			case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
				d.failAt(line, field, "merge keys (<<) are not supported")
				continue
			case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
				d.failAt(line, field, "has a key that is %s and must be a string", describe(key))
				continue
			}
			if earlier, twice := first[key.Value]; twice {
				d.failAt(line, join(field, key.Value), "is given twice, first on line %d", earlier)
				continue
			}
			first[key.Value] = line
			if !d.spend() || !yield(key, value) {
				return
			}
		}
	}
}

// list decodes a sequence.
func (d *decoder) list(field string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(field, "must be a list, is %s", describe(n))
		return
	}
	// It grows as it is decoded: an alias used often must not reserve memory before it has been paid for.
	for i, item := range n.Content {
		if d.budget <= 0 {
			return
		}
		at := fmt.Sprintf("%s[%d]", field, i)
		d.lines[at] = item.Line
		element := reflect.New(v.Type().Elem()).Elem()
		if isNull(follow(item)) {
			d.fail(at, "has no value")
			continue
		}
		d.value(at, item, element)
		v.Set(reflect.Append(v, element))
	}
}

// stringMap decodes a mapping of strings to strings, such as labels.
func (d *decoder) stringMap(field string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(field, "must be a mapping, is %s", describe(n))
		return
	}
	m := map[string]string{}
	for key, value := range d.entries(field, n) {
		at := join(field, key.Value)
		d.lines[at] = key.Line
		var text string
		d.value(at, value, reflect.ValueOf(&text).Elem())
		m[key.Value] = text
	}
	v.Set(reflect.ValueOf(m))
}

// str decodes a string or an enumerated string.
func (d *decoder) str(field string, n *yaml.Node, v reflect.Value) {
	// A plain 2026-12-01 is a timestamp to YAML; nobody who wrote it as a label meant anything but its text.
	if !d.scalar(field, n, "a string", "!!str", "!!timestamp") {
		return
	}
	v.SetString(n.Value)
	if enum, ok := v.Interface().(enumerated); ok && !slices.Contains(enum.values(), n.Value) {
		d.fail(field, "must be one of %s, is %s", strings.Join(enum.values(), ", "), quote(n.Value))
	}
}

// text decodes a type that parses itself.
func (d *decoder) text(field string, n *yaml.Node, v encoding.TextUnmarshaler) {
	if !d.scalar(field, n, "a string", "!!str", "!!timestamp") {
		return
	}
	if err := v.UnmarshalText([]byte(n.Value)); err != nil {
		d.fail(field, "%s", err.Error())
	}
}

// integer decodes a whole decimal number.
func (d *decoder) integer(field string, n *yaml.Node, v reflect.Value) {
	if !d.scalar(field, n, "a whole number", "!!int") {
		return
	}
	number, err := strconv.ParseInt(n.Value, 10, 32) // 32 bits on every platform
	if err != nil {
		d.fail(field, "must be a whole number of at most 2147483647, is %s", quote(n.Value))
		return
	}
	v.SetInt(number)
}

// scalar reports anything but a scalar of one of these tags.
func (d *decoder) scalar(field string, n *yaml.Node, want string, tags ...string) bool {
	if n.Kind == yaml.ScalarNode && slices.Contains(tags, n.ShortTag()) {
		return true
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && tags[0] == "!!str" && slices.Contains([]string{"!!int", "!!float", "!!bool"}, n.ShortTag()) {
		hint = ": put it in quotes"
	}
	d.fail(field, "must be %s, is %s%s", want, describe(n), hint)
	return false
}

// describe names what a node is, without its content.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "empty"
		case "!!str":
			return "a string"
		case "!!int", "!!float":
			return "a number"
		case "!!bool":
			return "a boolean"
		}
	}
	return "something else"
}

// plainKey is a key that can stand in a path as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_/-]{1,80}$`)

// join appends a key to the path of a field.
func join(field, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return field + "[" + quote(key) + "]"
	case field == "":
		return key
	}
	return field + "." + key
}

// quote shows a value from a file: escaped, and no longer than a line.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// oneLine joins the lines of a message.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// fieldInfo is one field of a struct as a file names it.
type fieldInfo struct {
	index    []int
	required bool
}

var fieldCache sync.Map // reflect.Type to map[string]fieldInfo: a pure function of the type

// fieldsOf lists a struct's fields by their JSON names, those of inlined structs included.
func fieldsOf(t reflect.Type) map[string]fieldInfo {
	if cached, ok := fieldCache.Load(t); ok {
		fields, _ := cached.(map[string]fieldInfo)
		return fields
	}
	fields := map[string]fieldInfo{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous:
			for inner, info := range fieldsOf(f.Type) {
				fields[inner] = fieldInfo{index: slices.Concat(f.Index, info.index), required: info.required}
			}
		default:
			fields[name] = fieldInfo{index: f.Index, required: !strings.Contains(options, "omit")}
		}
	}
	fieldCache.Store(t, fields)
	return fields
}

// required lists the names of the fields that a file must give, sorted.
func required(t reflect.Type) []string {
	var names []string
	for name, info := range fieldsOf(t) {
		if info.required {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
