package vet

import (
	"bytes"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/manifest"
)

// repository is what is known of the files without building anything.
type repository struct {
	// kustomizations are the folders that have one, sorted.
	kustomizations []string
	// definitions are those of CustomResourceDefinitions in any file: an operator that is installed by other means may
	// have its own kept here, so that its resources can be checked.
	definitions map[schema.GroupKind][]*manifest.Definition
}

// survey looks through all files but those of tools (folders whose name begins with a dot).
func (v *vetter) survey(ctx context.Context) *repository {
	r := &repository{definitions: map[schema.GroupKind][]*manifest.Definition{}}
	var walk func(dir string)
	walk = func(dir string) {
		listing, err := v.tree.ReadDir(dir)
		if err != nil || ctx.Err() != nil {
			return // what the fleet needs of it fails where it is needed
		}
		for _, e := range listing {
			file := path.Join(dir, e.Name)
			switch {
			case e.IsDir():
				if !strings.HasPrefix(e.Name, ".") {
					walk(file)
				}
			case !e.Mode.IsRegular():
			case isKustomization(file):
				r.kustomizations = append(r.kustomizations, dir)
				v.scan(r, file)
			case isManifest(e.Name):
				v.scan(r, file)
			}
		}
	}
	walk(".")
	slices.Sort(r.kustomizations)
	r.kustomizations = slices.Compact(r.kustomizations)
	return r
}

func isManifest(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name))
}

// scan looks into a file for Secrets and definitions. Most files have none, which a look at the bytes tells.
func (v *vetter) scan(r *repository, file string) {
	b, err := v.tree.ReadFile(file)
	if err != nil || !bytes.Contains(b, []byte("Secret")) && !bytes.Contains(b, []byte("secretGenerator")) &&
		!bytes.Contains(b, []byte("CustomResourceDefinition")) {
		return
	}
	for i, d := range parse(file, b) {
		switch {
		case d.kind == "Secret":
			v.secret(d)
		case d.kind == "CustomResourceDefinition":
			v.define(r, d)
		case isKustomization(file) && i == 0:
			v.generators(d)
		}
	}
}

// define takes up a definition that is in a file. One that cannot be used is no definition: a patch, or somebody
// else's; if it is applied, it is judged as a manifest.
func (v *vetter) define(r *repository, d document) {
	// The decoder is foreign code that reads foreign input.
	defer func() { _ = recover() }()
	var content map[string]any
	if d.node.Decode(&content) != nil {
		return
	}
	data, err := json.Marshal(content)
	if err != nil {
		return
	}
	if definition, err := v.kinds.Define(data); err == nil && len(definition.Versions) > 0 {
		r.definitions[definition.GroupKind] = append(r.definitions[definition.GroupKind], definition)
	}
}
