package render

import (
	"encoding/base64"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// serverFields are those of metadata that the API server sets. A manifest has them when it was
// copied out of a cluster, and applying them would fail or mean another object.
var serverFields = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation",
	"managedFields", "resourceVersion", "selfLink", "uid",
}

// flatten returns the objects of a List, and any other object by itself. An object whose kind ends
// in List but has a name is somebody's custom resource.
func flatten(content map[string]any) []map[string]any {
	kind, _ := content["kind"].(string)
	items, isList := content["items"].([]any)
	meta, _ := content["metadata"].(map[string]any)
	if !strings.HasSuffix(kind, "List") || meta["name"] != nil || (!isList && kind != "List") {
		return []map[string]any{content}
	}
	var flat []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			flat = append(flat, flatten(m)...)
		}
	}
	return flat
}

// isLocal tells whether an object is input of the build only, by kustomize's rule.
func isLocal(content map[string]any) bool {
	meta, _ := content["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	v, ok := annotations[annotationLocal]
	set, isBool := v.(bool)
	return ok && v != "false" && (!isBool || set)
}

// annotation returns an annotation of an object, "" if it has none.
func annotation(content map[string]any, name string) string {
	meta, _ := content["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	s, _ := annotations[name].(string)
	return s
}

// normalise changes an object into what the API server would make of it, as far as a difference
// would look like drift for ever. It returns what is wrong with the object, without any value.
func normalise(content map[string]any, gk schema.GroupKind) (faults []string) {
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
	for _, field := range serverFields {
		delete(meta, field)
	}
	switch gk {
	case schema.GroupKind{Kind: "Secret"}:
		return normaliseSecret(content)
	case schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:
		if content["aggregationRule"] != nil {
			delete(content, "rules") // their controller would take them back for ever
		}
	}
	return nil
}

// normaliseSecret moves stringData into data, as the server does at every write, and writes data
// as the server does.
func normaliseSecret(content map[string]any) (faults []string) {
	data, ok := content["data"].(map[string]any)
	if content["data"] != nil && !ok {
		return []string{"data is not a map"}
	}
	for _, k := range sortedKeys(data) {
		s, ok := data[k].(string)
		raw, err := base64.StdEncoding.DecodeString(s)
		if !ok || err != nil {
			faults = append(faults, fmt.Sprintf("data[%q] is not base64", k))
			continue
		}
		data[k] = base64.StdEncoding.EncodeToString(raw)
	}
	plain, ok := content["stringData"].(map[string]any)
	if content["stringData"] != nil && !ok {
		return append(faults, "stringData is not a map")
	}
	delete(content, "stringData")
	if len(plain) == 0 {
		return faults
	}
	if data == nil {
		data = map[string]any{}
		content["data"] = data
	}
	for _, k := range sortedKeys(plain) {
		s, ok := plain[k].(string)
		if !ok {
			faults = append(faults, fmt.Sprintf("stringData[%q] is not a string: quote it", k))
			continue
		}
		data[k] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	return faults
}

// steeringKeys are the annotations of others that steer reconciliation; all of ours do.
var steeringKeys = map[string]bool{
	annotationDependsOn:                       true,
	"cli-utils.sigs.k8s.io/on-remove":         true,
	"client.lifecycle.config.k8s.io/deletion": true,
	"kustomize.toolkit.fluxcd.io/prune":       true,
	"argocd.argoproj.io/sync-options":         true,
}

// steering returns the annotations that steer reconciliation, nil if there are none.
func steering(content map[string]any) map[string]string {
	meta, _ := content["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	var found map[string]string
	for k, v := range annotations {
		s, ok := v.(string)
		if !ok || !steeringKeys[k] && !strings.HasPrefix(k, "holdfast.dev/") {
			continue
		}
		if found == nil {
			found = map[string]string{}
		}
		found[k] = s
	}
	return found
}
