package render

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"go.yaml.in/yaml/v3"
)

const (
	annotationSubstitute = "holdfast.dev/substitute"
	disabled             = "disabled"
)

// wholeExpression matches a value that is one expression and nothing else.
var wholeExpression = regexp.MustCompile(`^\$\{[^{}]*\}$`)

// substitute replaces ${...} in all keys and string values of an object and returns what is wrong,
// each fault once. Facts are inserted into decoded values and not into YAML text, so that no
// fact can end its field or begin another.
func (v variables) substitute(content map[string]any) []string {
	s := substitution{vars: v, faults: map[string]bool{}, undefined: map[string]bool{}}
	kind := content["kind"]
	for k, item := range content {
		content[k] = s.value(item, (kind == "ConfigMap" || kind == "Secret") && (k == "data" || k == "stringData"))
	}
	faults := slices.Sorted(maps.Keys(s.faults))
	if len(s.undefined) > 0 {
		faults = append(faults, fmt.Sprintf("substitute: undefined variable %s; $${x} escapes",
			strings.Join(slices.Sorted(maps.Keys(s.undefined)), ", ")))
	}
	return faults
}

type substitution struct {
	vars      variables
	faults    map[string]bool
	undefined map[string]bool
}

// value substitutes in v. Where Kubernetes wants a string (isString), the result stays one.
func (s *substitution) value(v any, isString bool) any {
	switch v := v.(type) {
	case string:
		return s.text(v, isString)
	case []any:
		for i := range v {
			v[i] = s.value(v[i], isString || isEnv(v[i]))
		}
		return v
	case map[string]any:
		for _, k := range sortedKeys(v) {
			item := v[k]
			name := s.key(k)
			if name != k {
				delete(v, k)
			}
			v[name] = s.value(item, isString || stringFields[k])
		}
		return v
	default:
		return v
	}
}

// stringFields are the fields of built-in kinds under which every scalar is a string.
var stringFields = map[string]bool{
	"labels": true, "annotations": true, "matchLabels": true, "nodeSelector": true, "selector": true,
	"command": true, "args": true, "name": true, "namespace": true,
}

// isEnv tells whether v looks like an environment variable of a container: a name and a value.
func isEnv(v any) bool {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 2 {
		return false
	}
	_, name := m["name"].(string)
	_, value := m["value"].(string)
	return name && value
}

func (s *substitution) key(k string) string {
	name, _ := s.text(k, true).(string)
	return name
}

func (s *substitution) text(old string, isString bool) any {
	if !strings.Contains(old, "${") {
		return old
	}
	replaced, ok := s.expand(old)
	if !ok || isString || !wholeExpression.MatchString(old) {
		return replaced
	}
	return typed(replaced)
}

// expand evaluates the expressions of a string. What is wrong is recorded by the names of variables
// and never by the text, which may be secret; the string is then returned as it was.
func (s *substitution) expand(old string) (string, bool) {
	undefined := map[string]bool{}
	for {
		replaced, err := envsubst.Eval(old, func(name string) (string, bool) {
			value, ok, err := s.vars.lookup(name)
			if err != nil {
				s.faults["substitute: "+err.Error()] = true
			}
			return value, ok || err != nil || undefined[name]
		})
		switch name := notSet(err); {
		case name != "":
			undefined[name] = true // once more, for the names of the others
			s.undefined[name] = true
		case err != nil:
			s.faults[fmt.Sprintf("substitute: %v; $${x} escapes", err)] = true
			return old, false
		case len(undefined) > 0:
			return old, false
		default:
			return replaced, true
		}
	}
}

// notSet returns the variable that an error of envsubst says is not set, "" for other errors.
func notSet(err error) string {
	if err == nil {
		return ""
	}
	m := notSetForm.FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	return m[1]
}

var notSetForm = regexp.MustCompile(`not set.*: "(.*)"$`)

// typed gives a fact the type that it would have in YAML: 3 is a number. Only scalars: a fact is
// never a map or a list.
func typed(s string) any {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(s), &n); err != nil || len(n.Content) != 1 ||
		n.Content[0].Kind != yaml.ScalarNode || n.Content[0].Style != 0 || n.Content[0].Value != s {
		return s
	}
	switch n.Content[0].Tag {
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			return s
		}
		if clean, err := jsonValue(v); err == nil {
			return clean
		}
	}
	return s
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
