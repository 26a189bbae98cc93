package fleet

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// decoder walks a YAML node and a Go value of a known type at once. The type bounds the depth.
type decoder struct {
	*report
	budget int
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
			d.add(UnknownField, key.Line, at, "unknown field%s", spell.DidYouMean(key.Value, slices.Sorted(maps.Keys(known))))
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
			d.failAs(MissingField, join(field, name), "is missing")
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
		} else {
			d.value(at, item, element)
		}
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
