package live

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Report says who changed what of an object of ours.
type Report struct {
	// Managers are the field managers that did it, sorted; empty if the server does not know, as when
	// somebody who owns nothing removed a field.
	Managers []string
	// Fields are the paths, as in .spec.template.spec.containers[name="web"].image; at most
	// maxFields, the last of them then says how many more there are.
	Fields []string
}

// maxFields bounds a report: an object whose managedFields somebody cleared has lost them all.
const maxFields = 20

// Blame finds who took which of our fields. before is managedFields when the drift was seen, after is
// managedFields once it was repaired. A field that nobody owns was removed; then, and when only a value
// changed, the blame goes to whoever wrote last after us.
func Blame(before, after []metav1.ManagedFieldsEntry, manager string) Report {
	mine := decodeOr(ours(before, manager))
	lost := decodeOr(ours(after, manager)).Difference(mine)
	byValue := lost.Empty()
	var managers []string
	taken := fieldpath.NewSet()
	for i := range before {
		e := &before[i]
		if isOurs(e, manager) || e.Subresource == "status" {
			continue
		}
		theirs := decodeOr(e)
		var part *fieldpath.Set
		if byValue {
			part = inside(theirs, mine)
		} else {
			part = theirs.Intersection(lost)
		}
		if !part.Empty() {
			managers = append(managers, e.Manager)
			taken = taken.Union(part)
		}
	}
	if byValue {
		lost = taken
	}
	if last := lastWriter(before, manager); last != "" && !lost.Difference(taken).Empty() || len(managers) == 0 {
		managers = append(managers, last)
	}
	return report(managers, lost)
}

// Taken finds who took which fields of an object that is left as it is (mode Detect): fields that the desired
// object has, that others own and we do not. Fields that were removed are not found; the blame for them goes to
// whoever wrote last after us.
func Taken(managed []metav1.ManagedFieldsEntry, manager string, desired *unstructured.Unstructured) Report {
	mine := decodeOr(ours(managed, manager))
	var managers []string
	taken := fieldpath.NewSet()
	for i := range managed {
		e := &managed[i]
		if isOurs(e, manager) || e.Subresource == "status" {
			continue
		}
		found := false
		decodeOr(e).Iterate(func(p fieldpath.Path) {
			v, declared := get(desired.Object, p)
			if m, isMap := v.(map[string]any); !declared || isMap && len(m) > 0 || mine.Has(p) {
				return
			}
			found = true
			taken.Insert(p.Copy())
		})
		if found {
			managers = append(managers, e.Manager)
		}
	}
	if len(managers) == 0 {
		managers = append(managers, lastWriter(managed, manager))
	}
	return report(managers, taken)
}

// Merge puts two reports about one object together.
func Merge(a, b Report) Report {
	merge := func(x, y []string) []string {
		all := slices.Concat(x, y)
		slices.Sort(all)
		return slices.Compact(all)
	}
	return Report{Managers: merge(a.Managers, b.Managers), Fields: merge(a.Fields, b.Fields)}
}

// lastWriter is the manager that wrote last, if it did so after our last apply. Times have a
// resolution of one second, so an equal one counts.
func lastWriter(entries []metav1.ManagedFieldsEntry, manager string) string {
	var since metav1.Time
	if e := ours(entries, manager); e != nil && e.Time != nil {
		since = *e.Time
	}
	name := ""
	for i := range entries {
		e := &entries[i]
		if isOurs(e, manager) || e.Subresource == "status" || e.Time == nil || e.Time.Before(&since) {
			continue
		}
		name, since = e.Manager, *e.Time
	}
	return name
}

// inside returns what a manager owns inside the maps and lists that we own as a whole, such as
// emptyDir.medium when we declared emptyDir: {}.
func inside(theirs, mine *fieldpath.Set) *fieldpath.Set {
	out := fieldpath.NewSet()
	theirs.Iterate(func(p fieldpath.Path) {
		if leafAbove(mine, p) && !slices.ContainsFunc(foreignMaps, func(q fieldpath.Path) bool { return within(p, q) }) {
			out.Insert(p.Copy())
		}
	})
	return out
}

// report writes the fields of a set: of an item that is in it as a whole, the item alone.
func report(managers []string, fields *fieldpath.Set) Report {
	slices.Sort(managers)
	managers = slices.Compact(managers)
	managers = slices.DeleteFunc(managers, func(m string) bool { return m == "" })
	var out []string
	more := 0
	var last fieldpath.Path
	for _, p := range tops(fields) {
		if last != nil && within(p, last) {
			continue
		}
		if p[len(p)-1].FieldName != nil && !below(fields, p).Empty() {
			continue // a map as such: its fields say more
		}
		last = p
		if len(out) == maxFields {
			more++
			continue
		}
		out = append(out, p.String())
	}
	if more > 0 {
		out[maxFields-1] = fmt.Sprintf("and %d more", more+1)
	}
	return Report{Managers: managers, Fields: out}
}

// tops lists the paths of a set in order, a path before all that is below it.
func tops(set *fieldpath.Set) []fieldpath.Path {
	var paths []fieldpath.Path
	set.Iterate(func(p fieldpath.Path) { paths = append(paths, p.Copy()) })
	slices.SortFunc(paths, fieldpath.Path.Compare)
	return paths
}
