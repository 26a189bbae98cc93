package manifest

import (
	"bytes"
	"compress/gzip"
	_ "embed" // for the schemas
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// embedded is what TestEmbedded writes: a bundle in JSON, compressed. As long as nobody asks for it, it is a part of
// the program's file that is not even read.
//
//go:embed kubernetes.json.gz
var embedded []byte

// bundle is the form of the embedded schemas.
type bundle struct {
	// Version of the API server, such as 1.36.3.
	Version string `json:"version"`
	// Kinds are those of which objects can be applied.
	Kinds []bundledKind `json:"kinds"`
	// Definitions are OpenAPI schemas by name; they refer to each other by "#/components/schemas/<name>".
	Definitions map[string]json.RawMessage `json:"definitions"`
}

type bundledKind struct {
	Group      string `json:"group,omitempty"`
	Version    string `json:"version"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced,omitempty"`
	Definition string `json:"definition"`
}

func (k bundledKind) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// refPrefix is how one definition names another.
const refPrefix = "#/components/schemas/"

// objectMeta is the definition of metadata.
const objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// Kubernetes holds the kinds that every API server of its version knows. It is not safe for concurrent use: it
// compiles what it is asked for.
type Kubernetes struct {
	// Version of Kubernetes, such as "1.36.3".
	Version string

	kinds       map[schema.GroupVersionKind]bundledKind
	definitions map[string]json.RawMessage
	compiled    map[string]*node
}

// Load unpacks the embedded schemas: a few milliseconds, and a few megabytes for as long as the result is held.
func Load() (*Kubernetes, error) {
	b, err := unpack(embedded)
	if err != nil {
		return nil, fmt.Errorf("unpack the schemas of Kubernetes: %w", err)
	}
	k := &Kubernetes{
		Version: b.Version, kinds: map[schema.GroupVersionKind]bundledKind{},
		definitions: b.Definitions, compiled: map[string]*node{},
	}
	for _, kind := range b.Kinds {
		k.kinds[kind.gvk()] = kind
	}
	return k, nil
}

func unpack(data []byte) (*bundle, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	b := &bundle{}
	if err := json.NewDecoder(r).Decode(b); err != nil {
		return nil, err
	}
	return b, r.Close()
}

// Minor is the version without its last number: "1.36".
func (k *Kubernetes) Minor() string { return k.Version[:max(strings.LastIndex(k.Version, "."), 0)] }

// Kind returns a built-in kind.
func (k *Kubernetes) Kind(gvk schema.GroupVersionKind) (*Kind, bool) {
	found, ok := k.kinds[gvk]
	if !ok {
		return nil, false
	}
	return &Kind{gvk: gvk, Namespaced: found.Namespaced, root: k.definition(found.Definition)}, true
}

// Namespaced tells whether objects of a built-in kind are in a namespace; the second result, whether there is such a
// kind, in whatever version.
func (k *Kubernetes) Namespaced(gk schema.GroupKind) (namespaced, known bool) {
	for gvk, kind := range k.kinds {
		if gvk.GroupKind() == gk {
			return kind.Namespaced, true
		}
	}
	return false, false
}

// Owns tells whether a group is Kubernetes' own: what it does not have in there, nobody can add. Names without a dot
// are all its own, those of groups that are gone too: a CustomResourceDefinition's group is a domain.
func (k *Kubernetes) Owns(group string) bool {
	if !strings.Contains(group, ".") {
		return true
	}
	for gvk := range k.kinds {
		if gvk.Group == group {
			return true
		}
	}
	return false
}

// Meant proposes what was probably meant by a kind that there is not: the same kind in other groups or versions, else
// one with a similar name; in the form "apps/v1 Deployment", "" if nothing is close.
func (k *Kubernetes) Meant(gvk schema.GroupVersionKind) string {
	var same, others []string
	for known := range k.kinds {
		name := known.GroupVersion().String() + " " + known.Kind
		if strings.EqualFold(known.Kind, gvk.Kind) {
			same = append(same, name)
		} else if known.Group == gvk.Group {
			others = append(others, known.Kind)
		}
	}
	slices.SortFunc(same, compareVersions)
	if len(same) > 0 {
		return same[0]
	}
	slices.Sort(others)
	near := spell.Nearest(gvk.Kind, others)
	if near == "" {
		return ""
	}
	return k.Meant(schema.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: near})
}

// compareVersions orders "group/version Kind" so that what is stable comes first.
func compareVersions(a, b string) int {
	unstable := func(s string) int {
		if strings.Contains(s, "alpha") || strings.Contains(s, "beta") {
			return 1
		}
		return 0
	}
	if d := unstable(a) - unstable(b); d != 0 {
		return d
	}
	return -strings.Compare(a, b) // autoscaling/v2 before autoscaling/v1
}

// definition returns one definition, compiled once. A definition that is not there can only come from a broken bundle,
// which its test finds; it allows everything.
func (k *Kubernetes) definition(name string) *node {
	if n, ok := k.compiled[name]; ok {
		return n
	}
	n := &node{schema: &spec.Schema{}, kubernetes: k}
	if raw, ok := k.definitions[name]; !ok || json.Unmarshal(raw, n.schema) != nil {
		n.schema = &spec.Schema{}
	}
	n.settle()
	k.compiled[name] = n
	return n
}
