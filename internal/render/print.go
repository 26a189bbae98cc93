package render

import (
	"encoding/base64"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// PrintOptions say how objects are printed.
type PrintOptions struct {
	// ShowSecrets prints the data of Secrets; otherwise it is masked.
	ShowSecrets bool
}

// Print writes objects as a YAML stream in the given order, keys sorted. With ShowSecrets it is
// exactly what would be applied.
func Print(w io.Writer, objs []Object, opts PrintOptions) error {
	for i := range objs {
		b := objs[i].JSON
		if !opts.ShowSecrets && IsSecret(objs[i].ID.GroupKind) {
			u, err := objs[i].Unstructured()
			if err != nil {
				return err
			}
			Mask(u.Object)
			if b, err = canonical(u.Object); err != nil {
				return fmt.Errorf("print %s: %w", Name(objs[i].ID), err)
			}
		}
		y, err := yaml.JSONToYAML(b)
		if err != nil {
			return fmt.Errorf("print %s: %w", Name(objs[i].ID), err)
		}
		if _, err := fmt.Fprintf(w, "---\n%s", y); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// IsSecret tells whether objects of that kind hold data that must not be shown.
func IsSecret(gk schema.GroupKind) bool { return gk == schema.GroupKind{Kind: "Secret"} }

// lastApplied is where kubectl keeps a copy of the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Mask replaces every value in the data of a Secret by its length, as in "*** (12 bytes)", in place.
// It must be called for everything that shows a Secret, live ones included; other objects are
// left alone.
func Mask(content map[string]any) {
	if content["kind"] != "Secret" || content["apiVersion"] != "v1" {
		return
	}
	if data, ok := content["data"].(map[string]any); ok {
		for k, v := range data {
			s, _ := v.(string)
			n := len(s)
			if raw, err := base64.StdEncoding.DecodeString(s); err == nil {
				n = len(raw)
			}
			data[k] = masked(n)
		}
	}
	if data, ok := content["stringData"].(map[string]any); ok {
		for k, v := range data {
			s, _ := v.(string)
			data[k] = masked(len(s))
		}
	}
	meta, _ := content["metadata"].(map[string]any)
	if annotations, ok := meta["annotations"].(map[string]any); ok && annotations[lastApplied] != nil {
		annotations[lastApplied] = "***"
	}
}

func masked(n int) string {
	if n == 1 {
		return "*** (1 byte)"
	}
	return fmt.Sprintf("*** (%d bytes)", n)
}
