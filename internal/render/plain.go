package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/kyaml/kio"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// errNotPlain sends a build back to kustomize.
var errNotPlain = errors.New("not plain after all")

// plain builds a tree of kustomizations that only list resources: it parses the files, with
// kustomize's own reader, and appends. kustomize compares every object with every other for that.
// Without a transformer nothing is renamed, so there is no reference to follow either.
func (f *files) plain(list []string) ([]*yaml.Node, error) {
	var nodes []*yaml.Node
	where := map[key]string{}
	for _, file := range list {
		b, err := f.readFile(file)
		if err != nil {
			return nil, err
		}
		parsed, err := parse(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %s", file, tidy(err))
		}
		for _, n := range parsed {
			if !annotations(n.YNode()) {
				return nil, errNotPlain
			}
			k := keyOf(n.YNode())
			if other, ok := where[k]; ok {
				return nil, fmt.Errorf("%s is declared in both %s and %s", k, other, file)
			}
			where[k] = file
			nodes = append(nodes, n.YNode())
		}
	}
	return nodes, nil
}

// parse reads a file of resources as kustomize does. A file without aliases, merge keys and lists
// is spared kustomize's expansion, which copies every mapping once per level and takes most of the time.
func parse(b []byte) ([]*kyaml.RNode, error) {
	for _, sign := range []string{"*", "<<", "merge", "List"} {
		if bytes.Contains(b, []byte(sign)) {
			return provider.NewDefaultDepProvider().GetResourceFactory().RNodesFromBytes(b)
		}
	}
	nodes, err := (&kio.ByteReader{Reader: bytes.NewReader(b), OmitReaderAnnotations: true}).Read()
	if err != nil {
		return nil, err
	}
	kept := nodes[:0]
	for _, n := range nodes {
		if n.IsNilOrEmpty() {
			continue
		}
		if _, err := n.GetValidatedMetadata(); err != nil {
			return nil, err
		}
		kept = append(kept, n)
	}
	return kept, nil
}

// annotations does to an object's annotations what kustomize does: all become strings. It says no to
// what only kustomize can handle: notes to itself, which it acts on and removes.
func annotations(n *yaml.Node) bool {
	all := field(field(n, "metadata"), "annotations")
	if all == nil {
		return true
	}
	if all.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(all.Content); i += 2 {
		k, v := all.Content[i], all.Content[i+1]
		note := strings.Contains(k.Value, "config.kubernetes.io/") &&
			k.Value != annotationLocal && k.Value != annotationDependsOn
		if note || k.ShortTag() != "!!str" || v.Kind != yaml.ScalarNode {
			return false
		}
		if v.ShortTag() != "!!str" {
			*v = *stringNode(v.Value)
		}
	}
	return true
}

// key is what must be unique in a kustomization.
type key struct{ apiVersion, kind, namespace, name string }

func keyOf(n *yaml.Node) key {
	meta := field(n, "metadata")
	k := key{
		apiVersion: text(field(n, "apiVersion")),
		kind:       text(field(n, "kind")),
		namespace:  text(field(meta, "namespace")),
		name:       text(field(meta, "name")),
	}
	if k.namespace == "default" || clusterScoped(schema.FromAPIVersionAndKind(k.apiVersion, k.kind).GroupKind()) {
		k.namespace = ""
	}
	return k
}

// String names the object without its version.
func (k key) String() string {
	group, _, ok := strings.Cut(k.apiVersion, "/")
	if !ok {
		group = ""
	}
	parts := []string{group, k.kind, k.namespace, k.name}
	kept := parts[:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "/")
}
