package live

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// isOurs tells whether an entry is that of our applies.
func isOurs(e *metav1.ManagedFieldsEntry, manager string) bool {
	return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// ours finds our entry; nil if we own nothing. The server keeps one per applying manager.
func ours(entries []metav1.ManagedFieldsEntry, manager string) *metav1.ManagedFieldsEntry {
	i := slices.IndexFunc(entries, func(e metav1.ManagedFieldsEntry) bool { return isOurs(&e, manager) })
	if i < 0 {
		return nil
	}
	return &entries[i]
}

// decode reads the fields of an entry. Nil and an entry without fields give an empty set.
func decode(e *metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if e == nil || e.FieldsV1 == nil || len(e.FieldsV1.GetRawBytes()) == 0 {
		return set, nil
	}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("decode the managed fields of %q: %w", e.Manager, err)
	}
	return set, nil
}

// decodeOr is decode for callers to whom a broken entry is one that owns nothing, since all they do
// with it is to describe or to leave alone.
func decodeOr(e *metav1.ManagedFieldsEntry) *fieldpath.Set {
	set, err := decode(e)
	if err != nil {
		return fieldpath.NewSet()
	}
	return set
}

// without returns the set less the given paths and all below them. Its form is canonical, whatever
// that of the set was.
func without(set *fieldpath.Set, ignored []fieldpath.Path) *fieldpath.Set {
	out := fieldpath.NewSet()
	set.Iterate(func(p fieldpath.Path) {
		if !covered(p, ignored) {
			out.Insert(p.Copy())
		}
	})
	return out
}

// covered tells whether a path is one of the given or below one.
func covered(p fieldpath.Path, by []fieldpath.Path) bool {
	return slices.ContainsFunc(by, func(q fieldpath.Path) bool { return within(p, q) })
}

// within tells whether a path is the given one or below it.
func within(p, top fieldpath.Path) bool {
	return len(p) >= len(top) && p[:len(top)].Equals(top)
}

// below descends into a set; empty if nothing of it is below the path.
func below(set *fieldpath.Set, p fieldpath.Path) *fieldpath.Set {
	for _, pe := range p {
		set = set.WithPrefix(pe)
	}
	return set
}

// touches tells whether a set has the path, or anything below it.
func touches(set *fieldpath.Set, p fieldpath.Path) bool {
	return set.Has(p) || !below(set, p).Empty()
}

// leafAbove tells whether a set owns something above the path as a whole: a list or map whose
// items have no owners of their own, such as an atomic list.
func leafAbove(set *fieldpath.Set, p fieldpath.Path) bool {
	for n := 1; n < len(p); n++ {
		if set.Has(p[:n]) && below(set, p[:n]).Empty() {
			return true
		}
	}
	return false
}
