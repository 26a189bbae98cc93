package vet

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/manifest"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

// TestObject finds the line of a field in the files of an overlay.
func TestObject(t *testing.T) {
	files := treetest.New(map[string]string{
		"o/kustomization.yaml": "resources: [../b, more.yaml]\nnamePrefix: pre-\npatches:\n- path: p.yaml\n- path: ops.json\n  target: {kind: Box}\n" +
			"- patch: |-\n    kind: Box\n    metadata: {name: web}\n    spec:\n      color: blue\n",
		"o/p.yaml":             "kind: Box\nmetadata: {name: web}\nspec:\n  size: 2\n  list:\n  - name: b\n    size: 7\n",
		"o/ops.json":           "[{\"op\": \"add\", \"path\": \"/spec/a~1b\", \"value\": 1},\n {\"op\": \"add\",\n  \"path\": \"/spec/list/-\", \"value\": {}}]\n",
		"o/more.yaml":          "kind: Box\nmetadata:\n  name: pre-exact\n---\nkind: Box\nmetadata: {name: exact}\nspec: {size: 9}\n",
		"b/kustomization.yaml": "resources: [a.yaml]\n",
		"b/a.yaml": "kind: Lid\nmetadata: {name: web}\n---\nkind: Box\nmetadata:\n  name: web\nspec: &spec\n  size: 1\n" +
			"  list:\n  - name: a\n    size: 5\n  - name: b\n  other: *spec\n",
	})
	content := func(spec map[string]any) map[string]any { return map[string]any{"spec": spec} }
	entries := []any{map[string]any{"name": "b", "size": int64(7)}, map[string]any{"name": "a", "size": int64(5)}, map[string]any{}}
	for _, test := range []struct {
		name    string
		object  string
		field   manifest.Path
		content map[string]any
		want    position
	}{
		{"the object itself", "pre-web", nil, nil, position{"b/a.yaml", 4}},
		{"a field of the manifest alone", "pre-web", manifest.Path{"spec", "other"}, nil, position{"b/a.yaml", 13}},
		{"the value that the base has", "pre-web", manifest.Path{"spec", "size"}, content(map[string]any{"size": int64(1)}), position{"b/a.yaml", 8}},
		{"the value that the patch has", "pre-web", manifest.Path{"spec", "size"}, content(map[string]any{"size": int64(2)}), position{"o/p.yaml", 4}},
		{"a patch in the kustomization", "pre-web", manifest.Path{"spec", "color"}, nil, position{"o/kustomization.yaml", 11}},
		{"an operation on a field", "pre-web", manifest.Path{"spec", "a/b"}, nil, position{"o/ops.json", 1}},
		{"an operation on the field around it", "pre-web", manifest.Path{"spec", "list", 2, "size"}, content(map[string]any{"list": entries}), position{"o/ops.json", 2}},
		{"an entry by its name", "pre-web", manifest.Path{"spec", "list", 1, "size"}, content(map[string]any{"list": entries}), position{"b/a.yaml", 11}},
		{"an entry that a patch has changed", "pre-web", manifest.Path{"spec", "list", 0, "size"}, content(map[string]any{"list": entries}), position{"o/p.yaml", 7}},
		{"behind an alias", "pre-web", manifest.Path{"spec", "other", "list", 0, "size"}, nil, position{"b/a.yaml", 11}},
		{"the nearest field around it", "pre-web", manifest.Path{"spec", "none", "at", "all"}, nil, position{"b/a.yaml", 7}},
		{"its own name before a similar one", "pre-exact", manifest.Path{"spec", "size"}, nil, position{"o/more.yaml", 1}},
		{"no such object", "other", manifest.Path{"spec"}, nil, position{"o/kustomization.yaml", 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := object.ObjMetadata{GroupKind: schema.GroupKind{Kind: "Box"}, Name: test.object}
			if got := newSources(files).object("o", id, test.field, test.content); got != test.want {
				t.Errorf("found at %+v, want %+v", got, test.want)
			}
		})
	}
}

// FuzzParse: whatever is in a file, its documents are found and walked without a panic, and lines are lines of the file.
func FuzzParse(f *testing.F) {
	for _, a := range archives(f) {
		for _, file := range a.Files {
			if isManifest(file.Name) {
				f.Add(file.Name, file.Data, "spec.template.metadata.labels.app")
			}
		}
	}
	f.Fuzz(func(t *testing.T, name string, data []byte, field string) {
		var steps []any
		for step := range strings.SplitSeq(field, ".") {
			steps = append(steps, step, 0)
		}
		// YAML knows more ends of lines than one, and an inline patch may be folded.
		most := 1 + strings.Count(strings.NewReplacer("\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n", `\n`, "\n", `\N`, "\n", `\L`, "\n", `\P`, "\n").Replace(string(data)), "\n")
		for _, d := range parse(name, data) {
			line, _, _ := d.find(steps, map[string]any{})
			if line < 0 || line > 2*most {
				t.Errorf("line %d of %d", line, most)
			}
			for n := range scalars(d.node) {
				_ = n.Value
			}
		}
	})
}
