package live

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Take decides whether a field of another manager's entry becomes ours.
type Take func(e *metav1.ManagedFieldsEntry, p fieldpath.Path) bool

// pinned are fields that are never taken from anybody, since removing them would break what they
// stand for: finalizers and owners are promises to controllers, the server allocates addresses and
// ports once, and restartedAt is how a rollout is restarted.
var pinned = []fieldpath.Path{
	fieldpath.MakePathOrDie("metadata", "finalizers"),
	fieldpath.MakePathOrDie("metadata", "ownerReferences"),
	fieldpath.MakePathOrDie("status"),
	fieldpath.MakePathOrDie("spec", "clusterIP"),
	fieldpath.MakePathOrDie("spec", "clusterIPs"),
	fieldpath.MakePathOrDie("spec", "healthCheckNodePort"),
	fieldpath.MakePathOrDie("spec", "volumeName"),
	fieldpath.MakePathOrDie("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"),
}

func isPinned(p fieldpath.Path) bool {
	if covered(p, pinned) {
		return true
	}
	// spec.ports[...].nodePort
	last := p[len(p)-1].FieldName
	return last != nil && *last == "nodePort" && len(p) == 4
}

// declarers are field managers whose fields are what a manifest declared, to be replaced by ours when an
// object is adopted: client-side and server-side kubectl, Helm, Flux and Argo CD. Never
// kubectl-rollout, kubectl-scale or kubectl-edit: those are no manifests.
var declarers = []string{
	"kubectl", "kubectl-client-side-apply", "kubectl-create", "kubectl-replace",
	"helm", "helm-controller",
	"kustomize-controller", "flux",
	"argocd-controller", "argocd-application-controller", "argocd",
}

const (
	// beforeFirstApply is the manager under which the server puts everything that an object had when its
	// first server-side apply found no managedFields.
	beforeFirstApply = "before-first-apply"
	// lastApplied is where client-side kubectl keeps the manifest that it applied.
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// Adopted takes what the tool that had applied a live object declared. Of before-first-apply, which owns
// what others put there too, it takes what client-side kubectl's last manifest had; nothing
// without that.
func Adopted(live *unstructured.Unstructured) Take {
	var manifest map[string]any
	if text := live.GetAnnotations()[lastApplied]; text != "" {
		// Anybody may write the annotation. Unreadable, it declares nothing.
		if err := json.Unmarshal([]byte(text), &manifest); err != nil {
			manifest = nil
		}
	}
	return func(e *metav1.ManagedFieldsEntry, p fieldpath.Path) bool {
		if slices.Contains(declarers, e.Manager) {
			return true
		}
		if e.Manager != beforeFirstApply || manifest == nil {
			return false
		}
		_, declared := get(manifest, p)
		return declared || p.Equals(lastAppliedPath)
	}
}

var lastAppliedPath = fieldpath.MakePathOrDie("metadata", "annotations", lastApplied)

// Human takes what people's tools own: for Strict mode.
func Human(e *metav1.ManagedFieldsEntry, _ fieldpath.Path) bool { return IsHuman(e.Manager) }

// Inside takes what anybody put into the maps that we declared empty: an apply alone would leave it.
func Inside(live *unstructured.Unstructured, manager string) Take {
	mine := decodeOr(ours(live.GetManagedFields(), manager))
	return func(_ *metav1.ManagedFieldsEntry, p fieldpath.Path) bool {
		return leafAbove(mine, p) && !slices.ContainsFunc(foreignMaps, func(q fieldpath.Path) bool { return within(p, q) })
	}
}

// Takeover builds the JSON patch (RFC 6902) that makes fields of others ours, so that the next forced
// apply, which does not send them, removes them. A field goes if any of takes wants it. It is
// nil if there is nothing to take. The patch changes nothing but managedFields and holds the
// resourceVersion, so it fails with a conflict if the object has changed since: read it again then.
//
// version is the apiVersion in which we apply the object. Entries of another version are left alone, as
// their paths may mean something else; so are subresources, the ignored and the pinned fields. Unlike
// client-go's csaupgrade, whose way this is, it moves single fields and also those of server-side appliers.
func Takeover(live *unstructured.Unstructured, manager, version string, ignore []string, takes ...Take) ([]byte, error) {
	before := live.GetManagedFields()
	mine, err := decode(ours(before, manager))
	if err != nil {
		return nil, fmt.Errorf("take over fields: %w", err)
	}
	ignored := resolveAll(ignore, live.Object, decodeAll(before))
	after := make([]metav1.ManagedFieldsEntry, 0, len(before)+1)
	taken := false
	at := -1
	for _, e := range before {
		if isOurs(&e, manager) {
			at = len(after)
			after = append(after, e)
			continue
		}
		if e.Subresource != "" || e.APIVersion != version {
			after = append(after, e)
			continue
		}
		theirs, err := decode(&e)
		if err != nil {
			return nil, fmt.Errorf("take over fields: %w", err)
		}
		rest := fieldpath.NewSet()
		moved := false
		theirs.Iterate(func(p fieldpath.Path) {
			if !isPinned(p) && !covered(p, ignored) && slices.ContainsFunc(takes, func(t Take) bool { return t(&e, p) }) {
				mine.Insert(p.Copy())
				moved = true
				return
			}
			rest.Insert(p.Copy())
		})
		taken = taken || moved
		if moved && rest.Empty() {
			continue
		}
		if moved {
			if err := encode(&e, rest); err != nil {
				return nil, err
			}
		}
		after = append(after, e)
	}
	if !taken {
		return nil, nil
	}
	if at < 0 {
		now := metav1.Now()
		at = len(after)
		after = append(after, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: version, FieldsType: "FieldsV1", Time: &now,
		})
	}
	if err := encode(&after[at], mine); err != nil {
		return nil, err
	}
	patch := []map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": after},
		// Replacing it makes the server answer with a conflict, where a test would be an invalid request.
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	}
	out, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("take over fields: %w", err)
	}
	return out, nil
}

func encode(e *metav1.ManagedFieldsEntry, set *fieldpath.Set) error {
	raw, err := set.ToJSON()
	if err != nil {
		return fmt.Errorf("take over fields: encode those of %q: %w", e.Manager, err)
	}
	// A new value: the old one is shared with what was read.
	e.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return nil
}

// Declared tells whether a tool whose manifests we would replace (see Adopted) owns fields of an object.
func Declared(managed []metav1.ManagedFieldsEntry, manager string) bool {
	return slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool {
		return !isOurs(&e, manager) && e.Subresource == "" && (e.Manager == beforeFirstApply || slices.Contains(declarers, e.Manager))
	})
}
