package render

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxName is the longest name of any kind.
const maxName = 253

// validate returns what is wrong with the metadata of an object that has an identity. It asks only
// for what holds for every kind: names such as "system:node" are good for some. The API server
// judges the rest, object by object.
func validate(manifest map[string]any) (faults []string) {
	meta, _ := manifest["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	for _, m := range content.IsPathSegmentName(name) {
		faults = append(faults, fmt.Sprintf("metadata.name %q %s", name, m))
	}
	if len(name) > maxName {
		faults = append(faults, fmt.Sprintf("metadata.name has %d characters, more than %d", len(name), maxName))
	}
	switch namespace := meta["namespace"].(type) {
	case nil:
	case string:
		if namespace == "" {
			delete(meta, "namespace")
			break
		}
		for _, m := range validation.IsDNS1123Label(namespace) {
			faults = append(faults, fmt.Sprintf("metadata.namespace %q: %s", namespace, m))
		}
	default:
		faults = append(faults, "metadata.namespace is not a string: quote it")
	}
	for _, field := range []string{"labels", "annotations"} {
		switch m := meta[field].(type) {
		case nil:
		case map[string]any:
			for _, k := range sortedKeys(m) {
				if _, ok := m[k].(string); !ok {
					faults = append(faults, fmt.Sprintf("metadata.%s[%q] is not a string: quote it", field, k))
				}
			}
		default:
			faults = append(faults, fmt.Sprintf("metadata.%s is not a map", field))
		}
	}
	return faults
}
