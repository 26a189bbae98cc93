package live

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// replicasPointer is the field that an autoscaler writes.
const replicasPointer = "/spec/replicas"

var replicasPath = fieldpath.MakePathOrDie("spec", "replicas")

// scaled are the kinds that autoscalers scale and whose missing replicas the server makes one.
var scaled = []schema.GroupKind{
	{Kind: "ReplicationController"},
	{Group: "apps", Kind: "Deployment"},
	{Group: "apps", Kind: "ReplicaSet"},
	{Group: "apps", Kind: "StatefulSet"},
	{Group: "argoproj.io", Kind: "Rollout"},
}

// Scaled tells the kinds whose replicas an autoscaler may write: only they can have Implied fields.
func Scaled(gk schema.GroupKind) bool { return slices.Contains(scaled, gk) }

// Implied returns the fields that are ignored although no rule says so: the replicas of a desired
// object that does not declare them. Whoever leaves them out leaves them to an autoscaler or to the
// number that is live. Add them to the rules of spec.drift.ignore, for Observe and Body alike.
func Implied(desired *unstructured.Unstructured) []string {
	if !Scaled(desired.GroupVersionKind().GroupKind()) {
		return nil
	}
	if _, declared, err := unstructured.NestedFieldNoCopy(desired.Object, "spec", "replicas"); declared || err != nil {
		return nil
	}
	return []string{replicasPointer}
}

// OnlyImplied tells whether nothing is ignored in a desired object but what Implied adds: an object whose replicas
// we do not own can then be applied as it is, without asking what is live.
func OnlyImplied(desired *unstructured.Unstructured, ignore []string) bool {
	implied := Implied(desired)
	return !slices.ContainsFunc(ignore, func(p string) bool { return !slices.Contains(implied, p) })
}

// Body builds what to apply so that ignored fields stay as they are live. desired is not changed, and is
// returned itself if nothing has to be different: nothing is ignored, or the object is not live (nil) and so is
// to be created as declared.
//
// An ignored field that another manager owns, or that nobody owns, is left out. One that only we own is sent
// with its live value, whether desired has it or not. An item of an atomic list cannot be left
// out, since the list has one owner: it is sent with its live value.
func Body(desired, live *unstructured.Unstructured, manager string, ignore []string) *unstructured.Unstructured {
	if live == nil || len(ignore) == 0 {
		return desired
	}
	managed := live.GetManagedFields()
	sets := decodeAll(managed)
	paths := resolveAll(ignore, live.Object, sets)
	if len(paths) == 0 {
		return desired
	}
	mine := fieldpath.NewSet()
	others := make([]*fieldpath.Set, 0, len(sets))
	for i, set := range sets {
		if isOurs(&managed[i], manager) {
			mine = set
		} else {
			others = append(others, set)
		}
	}
	body := desired.DeepCopy()
	for _, p := range paths {
		leave(body.Object, live.Object, p, mine, others)
	}
	return body
}

// leave makes the apply leave the field at a path as it is live.
func leave(body, live map[string]any, p fieldpath.Path, mine *fieldpath.Set, others []*fieldpath.Set) {
	if goneAbove(body, p) {
		return // Git dropped the item that has the field, and the field goes with it
	}
	if leafAbove(mine, p) || slices.ContainsFunc(others, func(s *fieldpath.Set) bool { return leafAbove(s, p) }) {
		if v, ok := get(live, p); ok && has(body, p[:len(p)-1]) {
			put(body, p, runtime.DeepCopyJSONValue(v), len(p))
		}
		return
	}
	// Parts of an ignored map or item may have different owners: what is ours alone goes back in.
	var keep []fieldpath.Path
	for _, q := range under(mine, p) {
		if !slices.ContainsFunc(others, func(s *fieldpath.Set) bool { return touches(s, q) }) && has(live, q) {
			keep = append(keep, q)
		}
	}
	last := p[len(p)-1]
	if last.Key != nil && len(keep) > 0 && has(body, p) {
		// In its place: the order of a list may matter.
		put(body, p, keyFields(last), len(p))
	} else {
		remove(body, p)
	}
	for _, q := range keep {
		v, _ := get(live, q)
		if end := q[len(q)-1]; end.Key != nil && !below(mine, q).Empty() {
			if has(body, q) {
				continue
			}
			v = keyFields(end) // its parts are owned, and kept, one by one
		}
		put(body, q, runtime.DeepCopyJSONValue(v), len(p)-1)
	}
}

// under lists what a set has at a path and below it, outer before inner.
func under(set *fieldpath.Set, p fieldpath.Path) []fieldpath.Path {
	var out []fieldpath.Path
	if set.Has(p) {
		out = append(out, p)
	}
	inner := below(set, p)
	inner.Iterate(func(rest fieldpath.Path) {
		out = append(out, append(p.Copy(), rest.Copy()...))
	})
	slices.SortFunc(out, fieldpath.Path.Compare)
	return out
}

// goneAbove tells whether an item of a list on the way to the path is not in the body.
func goneAbove(body map[string]any, p fieldpath.Path) bool {
	for n := 1; n < len(p); n++ {
		if p[n-1].FieldName == nil && !has(body, p[:n]) {
			return true
		}
	}
	return false
}

func has(root map[string]any, p fieldpath.Path) bool {
	_, ok := get(root, p)
	return ok
}
