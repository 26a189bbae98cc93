package render

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// division is the workload that gets this cluster's share of the replicas.
type division struct {
	id    object.ObjMetadata
	share int32
}

// divide finds the workload whose replicas are divided, nil if none are.
func (s *set) divide(req Request) (*division, error) {
	if req.Share == nil {
		return nil, nil //nolint:nilnil // nothing is divided, which is an answer
	}
	var found []object.ObjMetadata
	for _, id := range s.ids() {
		if targets(req.Target, id) {
			found = append(found, id)
		}
	}
	switch {
	case len(found) == 0 && req.Target != nil:
		return nil, fmt.Errorf("the target %s %q is not among the app's objects", req.Target.Kind, req.Target.Name)
	case len(found) == 0:
		return nil, errors.New("no Deployment or StatefulSet to divide; name one in spec.replicas.target")
	case len(found) > 1:
		return nil, fmt.Errorf("%s: name one of them in spec.replicas.target", names(found))
	}
	for _, d := range s.objects {
		if scales(d, found[0]) {
			return nil, fmt.Errorf("%s is scaled by %s: an autoscaler and spec.replicas exclude each other",
				Name(found[0]), Name(d.id))
		}
	}
	return &division{id: found[0], share: *req.Share}, nil
}

// ids are those of all objects, the wrong ones included: that one is broken makes another no target.
func (s *set) ids() []object.ObjMetadata {
	seen := map[object.ObjMetadata]bool{}
	var ids []object.ObjMetadata
	for _, d := range s.objects {
		ids = append(ids, d.id)
		seen[d.id] = true
	}
	for _, e := range s.errors {
		if !seen[e.ID] {
			seen[e.ID] = true
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// Divides tells whether an app's replicas, nil if they are not divided over clusters, are divided by an object of that id.
func Divides(replicas *fleet.Replicas, id object.ObjMetadata) bool {
	return replicas != nil && targets(replicas.Target, id)
}

// Workload tells whether the replicas of a kind are divided without being named, and counted where they are not divided.
func Workload(gk schema.GroupKind) bool {
	return gk.Group == "apps" && (gk.Kind == "Deployment" || gk.Kind == "StatefulSet")
}

func targets(t *fleet.Target, id object.ObjMetadata) bool {
	if t != nil {
		return id.GroupKind.Kind == t.Kind && id.Name == t.Name
	}
	return Workload(id.GroupKind)
}

// scales tells whether d is an autoscaler of the workload.
func scales(d draft, workload object.ObjMetadata) bool {
	if d.id.GroupKind != (schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}) ||
		d.id.Namespace != workload.Namespace {
		return false
	}
	spec, _ := d.content["spec"].(map[string]any)
	ref, _ := spec["scaleTargetRef"].(map[string]any)
	return ref["kind"] == workload.GroupKind.Kind && ref["name"] == workload.Name
}

// apply sets the replicas, and says why it cannot.
func (d *division) apply(content map[string]any) (fault string) {
	spec, ok := content["spec"].(map[string]any)
	if !ok {
		return "replicas cannot be divided: the object has no spec"
	}
	spec["replicas"] = int64(d.share)
	return ""
}

func names(ids []object.ObjMetadata) string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = Name(id)
	}
	return strings.Join(all, ", ")
}
