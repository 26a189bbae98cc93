package render

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

const (
	// clusterConfigMap is the name of the placeholder that is filled with the cluster's facts.
	clusterConfigMap = "holdfast-cluster"
	// annotationLocal marks objects that are input of a build and never applied.
	annotationLocal = "config.kubernetes.io/local-config"
	// annotationDependsOn is cli-utils' own: of its group, but for us and not for kustomize.
	annotationDependsOn = "config.kubernetes.io/depends-on"
)

// factData is the data of the placeholder.
func factData(facts fleet.Facts) map[string]string {
	data := map[string]string{"name": facts.Name}
	for k, v := range facts.Labels {
		data["label."+k] = v
	}
	for k, v := range facts.Vars {
		data["var."+k] = v
	}
	return data
}

// fillFacts replaces the data of every placeholder in a YAML file. A file without one, or one that
// is not YAML, is returned as it is.
func fillFacts(b []byte, facts fleet.Facts) (filled []byte, found bool) {
	var docs []*yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			if err.Error() != "EOF" {
				return b, false
			}
			break
		}
		docs = append(docs, &n)
	}
	for _, doc := range docs {
		for _, n := range doc.Content {
			found = fillNode(n, facts) || found
		}
	}
	if !found {
		return b, false
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	for _, doc := range docs {
		if err := e.Encode(doc); err != nil {
			return b, false
		}
	}
	if err := e.Close(); err != nil {
		return b, false
	}
	return out.Bytes(), true
}

// fillNode fills n if it is a placeholder, or the placeholders in it if it is a List.
func fillNode(n *yaml.Node, facts fleet.Facts) (found bool) {
	if items := field(n, "items"); items != nil && strings.HasSuffix(text(field(n, "kind")), "List") {
		for _, item := range items.Content {
			found = fillNode(item, facts) || found
		}
		return found
	}
	meta := field(n, "metadata")
	if text(field(n, "kind")) != "ConfigMap" || text(field(n, "apiVersion")) != "v1" ||
		text(field(meta, "name")) != clusterConfigMap ||
		text(field(field(meta, "annotations"), annotationLocal)) != "true" {
		return false
	}
	data := factData(facts)
	filled := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		filled.Content = append(filled.Content, stringNode(k), stringNode(data[k]))
	}
	if old := field(n, "data"); old != nil {
		*old = *filled
	} else {
		n.Content = append(n.Content, stringNode("data"), filled)
	}
	return true
}

func stringNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}

// field returns the value of a key of a mapping, nil if there is none.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// variables are the names that spec.substitute knows.
type variables struct {
	values map[string]string
	// ambiguous are the names that two labels share, such as a.b and a-b.
	ambiguous map[string]bool
}

func newVariables(facts fleet.Facts) variables {
	v := variables{values: maps.Clone(facts.Vars), ambiguous: map[string]bool{}}
	if v.values == nil {
		v.values = map[string]string{}
	}
	names := map[string]bool{}
	for key, value := range facts.Labels {
		name := "CLUSTER_LABEL_" + strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z':
				return r - 'a' + 'A'
			case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
				return r
			}
			return '_'
		}, key)
		v.ambiguous[name] = names[name]
		names[name] = true
		v.values[name] = value
	}
	v.values["CLUSTER_NAME"] = facts.Name
	return v
}

// lookup returns the value of a variable.
func (v variables) lookup(name string) (value string, ok bool, err error) {
	if v.ambiguous[name] {
		return "", false, fmt.Errorf("variable %q: two labels of the cluster have this name", name)
	}
	value, ok = v.values[name]
	return value, ok, nil
}
