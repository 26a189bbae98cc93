package live

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// people are field managers that mean that a person wrote: kubectl's (which are named after the
// command), and dashboards, through a browser or as programs. kubectl-rollout is not one of them: a
// restart or an undo asked of the cluster is not a manifest. "node-fetch", which some desktop programs
// send, is not either: it is also the name of every controller written with that library.
var people = []string{"kubectl", "k9s", "lens", "openlens", "freelens", "headlamp", "mozilla", "dashboard", "kubernetes-dashboard"}

// IsHuman reports whether a field manager stands for a person.
func IsHuman(manager string) bool {
	name := strings.ToLower(manager)
	if strings.HasPrefix(name, "kubectl-rollout") {
		return false
	}
	return slices.Contains(people, name) || strings.HasPrefix(name, "kubectl-")
}

// HumanFields finds what people added to an object: fields that their tools own and we do not, less the
// ignored ones and those that Takeover leaves alone. content is the whole object, or nil where only its
// metadata is known. What was written in another version than we apply in is left alone, as by Takeover. In Strict mode anything found is drift.
func HumanFields(managed []metav1.ManagedFieldsEntry, manager string, content map[string]any, ignore []string) Report {
	if !slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool { return byPerson(&e) }) {
		return Report{}
	}
	mine := decodeOr(ours(managed, manager))
	mineIn := ""
	if e := ours(managed, manager); e != nil {
		mineIn = e.APIVersion
	}
	ignored := resolveAll(ignore, anyMap(content), decodeAll(managed))
	var managers []string
	fields := fieldpath.NewSet()
	for i := range managed {
		e := &managed[i]
		if !byPerson(e) || mineIn != "" && e.APIVersion != mineIn {
			continue
		}
		found := false
		decodeOr(e).Iterate(func(p fieldpath.Path) {
			if mine.Has(p) || touches(mine, p) || isPinned(p) || covered(p, ignored) {
				return
			}
			found = true
			fields.Insert(p.Copy())
		})
		if found {
			managers = append(managers, e.Manager)
		}
	}
	return report(managers, fields)
}

func byPerson(e *metav1.ManagedFieldsEntry) bool {
	return e.Subresource == "" && IsHuman(e.Manager)
}
