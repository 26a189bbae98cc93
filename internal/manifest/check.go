package manifest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kube-openapi/pkg/validation/errors"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// Kind is one kind in one version.
type Kind struct {
	// Namespaced tells whether its objects are in a namespace.
	Namespaced bool

	gvk  schema.GroupVersionKind
	root *node
}

// Rule is what a Fault breaks.
type Rule string

// The rules.
const (
	UnknownField Rule = "unknown-field"
	MissingField Rule = "missing-field"
	InvalidValue Rule = "invalid-value"
)

// Fault is one thing that is wrong with an object.
type Fault struct {
	// Field is where it is; of a MissingField, where it should be.
	Field Path
	Rule  Rule
	// Message says what is wrong, without the field. It holds no value of a Secret.
	Message string
}

// String is the field and the message.
func (f Fault) String() string {
	if len(f.Field) == 0 {
		return f.Message
	}
	return f.Field.String() + ": " + f.Message
}

// Check returns all that is wrong with an object of the kind, ordered by field. object is what JSON decodes to, with
// numbers as int64 or float64; it is not changed.
func (k *Kind) Check(object map[string]any) []Fault {
	c := &check{root: k.root, secret: k.gvk.GroupKind() == schema.GroupKind{Kind: "Secret"}}
	c.value(nil, object, k.root)
	c.rules(k.gvk, object)
	slices.SortStableFunc(c.faults, func(a, b Fault) int { return cmp.Compare(a.Field.String(), b.Field.String()) })
	return slices.CompactFunc(c.faults, func(a, b Fault) bool { return a.String() == b.String() })
}

// check walks one object.
type check struct {
	root   *node
	secret bool
	faults []Fault
}

func (c *check) fail(rule Rule, at Path, format string, args ...any) {
	c.faults = append(c.faults, Fault{Field: slices.Clone(at), Rule: rule, Message: fmt.Sprintf(format, args...)})
}

// value checks one value and all below it.
func (c *check) value(at Path, v any, n *node) {
	if !c.typed(at, v, n) {
		return
	}
	c.judged(at, v, n)
	switch v := v.(type) {
	case map[string]any:
		c.object(at, v, n)
	case []any:
		c.list(at, v, n)
	}
}

// object checks the fields of a mapping.
func (c *check) object(at Path, v map[string]any, n *node) {
	missing := slices.DeleteFunc(slices.Clone(n.schema.Required), func(key string) bool { return v[key] != nil || n.defaulted(key) })
	for _, key := range slices.Sorted(maps.Keys(v)) {
		f := n.field(key)
		switch {
		case f != nil:
			c.value(at.with(key), v[key], f)
		case !n.open:
			meant := spell.Nearest(key, notIn(v, n.names()))
			missing = slices.DeleteFunc(missing, func(key string) bool { return key == meant })
			c.fail(UnknownField, at.with(key), "unknown field%s", c.hint(at, key, meant))
		}
	}
	for _, key := range missing {
		c.fail(MissingField, at.with(key), "is missing")
	}
	oneOf, _ := n.schema.Extensions.GetStringSlice(extOneOf)
	if len(oneOf) > 0 && !slices.ContainsFunc(oneOf, func(key string) bool { return v[key] != nil }) {
		c.fail(MissingField, at, "has none of %s", strings.Join(oneOf, ", "))
	}
}

// defaulted tells whether the API server fills a field in before it asks whether it is there.
func (n *node) defaulted(key string) bool { return n.custom && n.schema.Properties[key].Default != nil }

// notIn leaves out the names that are keys of v: whoever wrote one did not mean to write it twice.
func notIn(v map[string]any, names []string) []string {
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { _, given := v[name]; return given })
}

// hint proposes what was meant by an unknown field: one with a similar name beside it, else the place where a field of
// that very name belongs, if it is further in or further out, as after a wrong indentation.
func (c *check) hint(at Path, key, meant string) string {
	if meant != "" {
		return fmt.Sprintf(" (did you mean %q?)", meant)
	}
	place := c.root.place(key)
	holder := anyEntry.ReplaceAllString(at.String(), "[]")
	outside := place[:max(strings.LastIndex(place, "."), 0)]
	if place != "" && (strings.HasPrefix(outside, holder) || strings.HasPrefix(holder, outside)) {
		return "; there is " + place
	}
	return ""
}

// anyEntry is the position of an entry in a path.
var anyEntry = regexp.MustCompile(`\[\d+\]`)

// place finds the field of that name that is nearest to the root, "" if there is none nearby.
func (n *node) place(key string) string {
	const deepest = 6
	type spot struct {
		node *node
		path string
	}
	level, seen := []spot{{n, ""}}, map[*node]bool{}
	for range deepest {
		var next []spot
		for _, s := range level {
			if seen[s.node] {
				continue
			}
			seen[s.node] = true
			if _, ok := s.node.schema.Properties[key]; ok && s.path != "" {
				return s.path + "." + key
			}
			for _, name := range slices.Sorted(maps.Keys(s.node.schema.Properties)) {
				below, path := s.node.field(name), strings.TrimPrefix(s.path+"."+name, ".")
				if s.path == "" && name == keyMetadata {
					continue // nobody means its many fields of the server
				}
				if entry := below.items(); entry != nil {
					below, path = entry, path+"[]"
				}
				next = append(next, spot{below, path})
			}
		}
		level = next
	}
	return ""
}

// list checks the entries of a list.
func (c *check) list(at Path, v []any, n *node) {
	if entry := n.items(); entry != nil {
		for i := range v {
			c.value(at.with(i), v[i], entry)
		}
	}
	kind, _ := n.schema.Extensions.GetString(extListType)
	switch kind {
	case listTypeMap:
		c.unique(at, v, func(entry any) (string, bool) { return n.keyOf(entry) })
	case listTypeSet:
		c.unique(at, v, func(entry any) (string, bool) { return fmt.Sprintf("%T %v", entry, entry), true })
	}
}

// keyOf writes the key of a list's entry; false if it has none.
func (n *node) keyOf(entry any) (string, bool) {
	m, ok := entry.(map[string]any)
	if !ok {
		return "", false
	}
	var parts []string
	for _, key := range n.mapKeys() {
		value := m[key]
		if value == nil && n.items() != nil {
			if s, ok := n.items().schema.Properties[key]; ok {
				value = s.Default
			}
		}
		if value == nil {
			return "", false
		}
		parts = append(parts, fmt.Sprintf("%s %v", key, value))
	}
	return strings.Join(parts, ", "), len(parts) > 0
}

// unique reports entries that have a key that an earlier one has.
func (c *check) unique(at Path, v []any, key func(any) (string, bool)) {
	first := map[string]int{}
	for i, entry := range v {
		k, ok := key(entry)
		if !ok {
			continue
		}
		if earlier, twice := first[k]; twice {
			c.fail(InvalidValue, at.with(i), "is the same entry as %s", at.with(earlier))
			continue
		}
		first[k] = i
	}
}

// typed checks the type of a value.
func (c *check) typed(at Path, v any, n *node) bool {
	types := n.schema.Type
	if len(types) == 0 && n.schema.Properties != nil {
		types = []string{typeObject}
	}
	if len(types) == 0 || v == nil && n.schema.Nullable || slices.ContainsFunc(types, func(t string) bool { return is(v, t) }) {
		return true
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = typeNames[t]
	}
	hint := ""
	if types[0] == typeString && len(types) == 1 && (is(v, "number") || is(v, "boolean")) {
		hint = ": put it in quotes"
	}
	c.fail(InvalidValue, at, "must be %s, is %s%s", strings.Join(names, " or "), c.describe(v), hint)
	return false
}

// typeNames are JSON's types as people call them.
var typeNames = map[string]string{
	typeObject: "a mapping", typeArray: "a list", typeInteger: "a whole number", "number": "a number",
	typeString: "a string", "boolean": "true or false",
}

// is tells whether a value has a type of JSON's.
func is(v any, jsonType string) bool {
	switch v := v.(type) {
	case map[string]any:
		return jsonType == typeObject
	case []any:
		return jsonType == typeArray
	case string:
		return jsonType == typeString
	case bool:
		return jsonType == "boolean"
	case int64, uint64:
		return jsonType == typeInteger || jsonType == "number"
	case float64:
		return jsonType == "number" || jsonType == typeInteger && v == math.Trunc(v)
	}
	return false
}

// describe says what a value is.
func (c *check) describe(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case nil:
		return "empty"
	case string:
		if c.secret {
			return "a string"
		}
		return "the string " + quote(v)
	case bool:
		if c.secret {
			return "a boolean"
		}
		return fmt.Sprint(v)
	default:
		if c.secret {
			return "a number"
		}
		return fmt.Sprintf("the number %v", v)
	}
}

// show shows a scalar, but for a Secret's.
func (c *check) show(v any) string {
	if text, ok := v.(string); ok && !c.secret {
		return quote(text)
	}
	return c.describe(v)
}

// meant proposes one of the values, unless the word is so short that all are close.
func meant(text string, values []string) string {
	if len(text) < 3 {
		return ""
	}
	return spell.DidYouMean(text, values)
}

// brief cuts the examples and the regular expression off a message of Kubernetes.
func brief(message string) string {
	text, _, _ := strings.Cut(message, " (e.g. ")
	return text
}

// judged checks a value by what the schema says of values.
func (c *check) judged(at Path, v any, n *node) {
	s := n.schema
	text, isText := v.(string)
	switch {
	case isText && text == "" && !n.custom && len(s.Enum) > 0:
		return // it gets its default
	case len(s.Enum) > 0 && isText && !slices.Contains(s.Enum, v):
		values := make([]string, len(s.Enum))
		for i := range s.Enum {
			values[i] = fmt.Sprint(s.Enum[i])
		}
		c.fail(InvalidValue, at, "must be one of %s, is %s%s", strings.Join(values, ", "), c.show(v), meant(text, values))
		return
	}
	if form, ok := forms[s.Format]; ok {
		if faults := form(v); len(faults) > 0 {
			for _, fault := range faults {
				c.fail(InvalidValue, at, "%s, is %s", brief(fault), c.show(v))
			}
			return
		}
	}
	if s.Format == formatByte && isText && !n.custom {
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			c.fail(InvalidValue, at, "must be base64")
		}
		return
	}
	validator := n.validator()
	if validator == nil {
		return
	}
	for _, err := range validator.Validate(v).Errors {
		c.fail(InvalidValue, at, "%s", c.message(err, v))
	}
}

// forms are the formats of values that the validator does not know, or has a poor word for.
var forms = map[string]func(v any) (faults []string){
	formatQuantity: ofText(func(text string) []string {
		if _, err := resource.ParseQuantity(text); err != nil {
			return []string{"must be a quantity such as 500m or 1Gi"}
		}
		return nil
	}),
	formatLabel: ofText(validation.IsDNS1123Label),
	formatPortName: ofText(func(text string) []string {
		if text == "" {
			return nil // no name
		}
		return validation.IsValidPortName(text)
	}),
	formatPort:  ofNumber(1, 65535),
	formatInt32: ofNumber(math.MinInt32, math.MaxInt32),
}

func ofText(judge func(string) []string) func(any) []string {
	return func(v any) []string {
		if text, ok := v.(string); ok {
			return judge(text)
		}
		return nil
	}
}

func ofNumber(least, most int64) func(any) []string {
	return func(v any) []string {
		if number, ok := v.(int64); ok && (number < least || number > most) {
			return []string{fmt.Sprintf("must be a number between %d and %d", least, most)}
		}
		return nil
	}
}

// message is an error of the validator without the name of the field, and without a value. Where a schema with
// alternatives is not met, it names the field of the alternative.
func (c *check) message(err error, v any) string {
	text := err.Error()
	if validation, ok := err.(*errors.Validation); ok { //nolint:errorlint // the validator's own, never wrapped
		name, _, _ := strings.Cut(text, " in body")
		text = strings.TrimPrefix(strings.TrimPrefix(text, name), " in body ")
		if name = strings.TrimPrefix(name, "."); name != "" {
			text = name + " " + text
		}
		if validation.Code() == errors.InvalidTypeCode {
			text, _, _ = strings.Cut(text, ": ") // the value
		}
	}
	text = strings.TrimPrefix(text, `"" `)
	if isScalar(v) {
		return text + ", is " + c.show(v)
	}
	return text
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any, nil:
		return false
	}
	return true
}
