package live

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/holdfast-dev/holdfast/internal/render"
)

// Object is what can be observed: *unstructured.Unstructured or *metav1.PartialObjectMetadata, with
// the group, version and kind set.
type Object interface {
	metav1.Object
	runtime.Object
}

// Observe reduces a live object to what is known of it. manager is our field manager; ignore are the JSON pointers
// of the fields that do not count: those of spec.drift.ignore and those that Implied adds.
//
// The same object gives the same result whether it came from a watch, a list or the answer to a write, also
// when it is a whole object of a kind that is watched by its metadata. The result holds the
// object's managedFields; nothing else of the object stays referenced.
func Observe(obj Object, manager string, ignore []string) View {
	gvk := obj.GetObjectKind().GroupVersionKind()
	live := View{
		ID: object.ObjMetadata{
			GroupKind: gvk.GroupKind(),
			Namespace: obj.GetNamespace(),
			Name:      obj.GetName(),
		},
		UID:             obj.GetUID(),
		ResourceVersion: obj.GetResourceVersion(),
		Instance:        obj.GetLabels()[render.LabelInstance],
		App:             obj.GetLabels()[render.LabelApp],
		Annotations:     steering(obj.GetAnnotations()),
		Deleting:        obj.GetDeletionTimestamp() != nil,
		Managed:         obj.GetManagedFields(),
		Status:          status.CurrentStatus,
	}
	var content map[string]any
	if u, ok := obj.(*unstructured.Unstructured); ok && !MetadataOnly(live.ID.GroupKind) {
		content = u.Object
		live.Status, live.Message = health(u)
		live.Replicas, live.ReadyReplicas = replicas(u)
	}
	if live.Deleting && content == nil {
		live.Status, live.Message = status.TerminatingStatus, "Resource scheduled for deletion"
	}
	if entry := ours(live.Managed, manager); entry != nil {
		set, err := decode(entry)
		if err != nil {
			// Never seen. Unknown must not look like "we own nothing", nor change from read to read.
			live.Fingerprint = digest(entry.FieldsV1.GetRawBytes())
		} else {
			inVersion := entry.APIVersion == gvk.GroupVersion().String()
			live.Fingerprint = fingerprint(set, live.Managed, inVersion, content, ignore)
			live.OwnsReplicas = Scaled(live.ID.GroupKind) && touches(set, replicasPath)
		}
	}
	live.Human = len(HumanFields(live.Managed, manager, content, ignore).Fields) > 0
	return live
}

// fingerprint is that of the fields that we own: "<fields>" or "<fields>-<values>", each the first 64 bits of a
// SHA-256 in hex. Values count if the fields are named in the version that the content is in.
func fingerprint(set *fieldpath.Set, managed []metav1.ManagedFieldsEntry, inVersion bool, content map[string]any, ignore []string) string {
	var ignored []fieldpath.Path
	if len(ignore) > 0 {
		ignored = resolveAll(ignore, anyMap(content), decodeAll(managed))
	}
	if len(ignored) > 0 {
		set = without(set, ignored)
	}
	fields, err := set.ToJSON()
	if err != nil {
		fields = []byte(err.Error()) // a set that was decoded always encodes
	}
	if content == nil || !inVersion {
		return digest(fields)
	}
	h := sha256.New()
	hashValues(h, set, content, ignored)
	return digest(fields) + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Same tells whether two fingerprints of one object mean that our fields are the same. Values are
// compared only if both have them: an object that is read in another version than it was applied in has none.
func Same(a, b string) bool {
	if a == b {
		return true
	}
	fieldsA, valuesA, hasA := strings.Cut(a, "-")
	fieldsB, valuesB, hasB := strings.Cut(b, "-")
	return fieldsA == fieldsB && (!hasA || !hasB || valuesA == valuesB)
}

// steering picks the annotations that change how an object is reconciled.
func steering(all map[string]string) map[string]string {
	var out map[string]string
	for _, key := range Steering {
		if v, ok := all[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = v
		}
	}
	return out
}

// health is kstatus' verdict; an object that it cannot judge is Unknown, and says why.
func health(u *unstructured.Unstructured) (status.Status, string) {
	result, err := status.Compute(u)
	if err != nil {
		return status.UnknownStatus, err.Error()
	}
	return result.Status, result.Message
}

// replicas reads how many replicas an object wants and has ready: where a Deployment has them, which others follow.
func replicas(u *unstructured.Unstructured) (want, ready int32) {
	return number(u.Object, "spec", "replicas"), number(u.Object, "status", "readyReplicas")
}

func number(content map[string]any, fields ...string) int32 {
	n, found, err := unstructured.NestedInt64(content, fields...)
	if err != nil || !found || n < 0 || n >= 1<<31 {
		return 0
	}
	return int32(n)
}

func decodeAll(managed []metav1.ManagedFieldsEntry) []*fieldpath.Set {
	sets := make([]*fieldpath.Set, 0, len(managed))
	for i := range managed {
		sets = append(sets, decodeOr(&managed[i]))
	}
	return sets
}

// anyMap keeps a nil map from becoming an interface that is not nil.
func anyMap(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}
