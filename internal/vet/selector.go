package vet

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

const settingsFile = "fleet.yaml"

// settings judges fleet.yaml: lines that do nothing.
func (v *vetter) settings() {
	v.noClusters()
	spec := &v.fleet.Settings.Spec
	if !v.broken(fleet.KindCluster) && len(v.fleet.Clusters) > 0 {
		for i := range spec.Drain {
			v.selector(settingsFile, &spec.Drain[i].ClusterSelector, found{code: UnknownCluster, message: "drains no cluster: %s"},
				"spec", "drain", i, "clusterSelector")
		}
		for i := range spec.Freeze {
			v.selector(settingsFile, &spec.Freeze[i].ClusterSelector, found{code: UnknownCluster, message: "freezes no cluster: %s"},
				"spec", "freeze", i, "clusterSelector")
		}
	}
	for i, p := range spec.Prune.Permit {
		v.permit(i, p)
	}
}

// permit judges one permit. An app that does not exist is what permits are for; one that is nearly named like an app
// that does is a slip.
func (v *vetter) permit(i int, p fleet.Permit) {
	if v.now.After(p.Until.Time) {
		until, _ := p.Until.MarshalText() // never fails
		v.add(v.sources.field(settingsFile, "spec", "prune", "permit", i, "until"), found{
			code: ExpiredPermit, severity: Warning, app: p.App,
			message: fmt.Sprintf("the permit has run out on %s, and releases nothing: take it out", until),
		})
		return
	}
	if _, ok := v.fleet.App(p.App); ok || v.broken(fleet.KindApp) {
		return
	}
	if near := spell.Nearest(p.App, v.appNames()); near != "" {
		v.add(v.sources.field(settingsFile, "spec", "prune", "permit", i, "app"), found{
			code: UnknownApp, severity: Warning,
			message: fmt.Sprintf("there is no app %q (did you mean %q?); for an app that has been removed this is as it should be", p.App, near),
		})
	}
}

func (v *vetter) appNames() []string {
	names := make([]string, len(v.fleet.Apps))
	for i, a := range v.fleet.Apps {
		names[i] = a.Name
	}
	return names
}

// selectors judges the selectors of an app but for those of its placement and its overlays.
func (v *vetter) selectors(a *fleet.App) {
	file := appFile(a)
	for i := range a.Spec.Placement.Prefer {
		v.selector(file, &a.Spec.Placement.Prefer[i], found{code: UnknownCluster, severity: Warning, app: a.Name, message: "prefers no cluster: %s"},
			"spec", "placement", "prefer", i)
	}
	for i := range a.Spec.Rollout.Waves {
		v.selector(file, &a.Spec.Rollout.Waves[i].ClusterSelector, found{code: UnknownCluster, severity: Warning, app: a.Name, message: "the wave is empty and skipped: %s"},
			"spec", "rollout", "waves", i, "clusterSelector")
	}
	if key := a.Spec.Placement.SpreadBy; key != "" && !slices.Contains(v.labelKeys(), key) {
		v.add(v.sources.field(file, "spec", "placement", "spreadBy"), found{
			code: UnknownCluster, severity: Warning, app: a.Name,
			message: fmt.Sprintf("spreads over nothing: no cluster has a label %q%s", key, spell.DidYouMean(key, v.labelKeys())),
		})
	}
	v.values(a, &a.Spec.Placement.ClusterSelector, "spec", "placement", "clusterSelector")
}

// selector reports a selector that no cluster matches.
func (v *vetter) selector(file string, s *fleet.Selector, f found, at ...any) {
	if why := v.nobody(s); why != "" {
		f.message = fmt.Sprintf(f.message, why)
		v.add(v.sources.field(file, at...), f)
	}
}

// nobody says why no cluster matches a selector, "" if one does.
func (v *vetter) nobody(s *fleet.Selector) string {
	if slices.ContainsFunc(v.fleet.Clusters, func(c *fleet.Cluster) bool { return s.Matches(c.Labels) }) {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		if why := v.nowhere(key, s.MatchLabels[key]); why != "" {
			return why
		}
	}
	for _, e := range s.MatchExpressions {
		values := v.labelValues(e.Key)
		switch {
		case e.Operator == metav1.LabelSelectorOpExists && len(values) == 0:
			return v.nowhere(e.Key, "")
		case e.Operator == metav1.LabelSelectorOpIn && !slices.ContainsFunc(e.Values, func(value string) bool { return slices.Contains(values, value) }):
			if len(e.Values) == 1 || len(values) == 0 {
				return v.nowhere(e.Key, e.Values[0])
			}
			return fmt.Sprintf("no cluster has %s with one of these values", e.Key)
		}
	}
	return "no cluster has all that the selector asks for"
}

// nowhere says that no cluster has a label with that value, "" if one has.
func (v *vetter) nowhere(key, value string) string {
	values := v.labelValues(key)
	switch {
	case len(values) == 0:
		return fmt.Sprintf("no cluster has a label %q%s", key, spell.DidYouMean(key, v.labelKeys()))
	case !slices.Contains(values, value):
		return fmt.Sprintf("no cluster has %s=%s%s", key, value, spell.DidYouMean(value, values))
	}
	return ""
}

// values reports values of a placement's expressions that no cluster has and that are nearly one that some have: the
// selector matches, and not what was meant.
func (v *vetter) values(a *fleet.App, s *fleet.Selector, at ...any) {
	if v.nobody(s) != "" {
		return // said as a whole
	}
	for i, e := range s.MatchExpressions {
		known := v.labelValues(e.Key)
		for j, value := range e.Values {
			if near := spell.Nearest(value, known); near != "" && !slices.Contains(known, value) {
				v.add(v.sources.field(appFile(a), append(slices.Clone(at), "matchExpressions", i, "values", j)...), found{
					code: UnknownCluster, severity: Warning, app: a.Name,
					message: fmt.Sprintf("no cluster has %s=%s (did you mean %q?)", e.Key, value, near),
				})
			}
		}
	}
}

// labelKeys are the keys of the clusters' labels, sorted.
func (v *vetter) labelKeys() []string {
	keys := map[string]bool{}
	for _, c := range v.fleet.Clusters {
		for key := range c.Labels {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// labelValues are the values that clusters have for a label, sorted.
func (v *vetter) labelValues(key string) []string {
	values := map[string]bool{}
	for _, c := range v.fleet.Clusters {
		if value, ok := c.Labels[key]; ok {
			values[value] = true
		}
	}
	return slices.Sorted(maps.Keys(values))
}

// covers tells whether whatever matches narrow matches wide too, as far as that can be told from their text: all that
// wide asks for, narrow asks for.
func covers(wide, narrow *fleet.Selector) bool {
	for key, value := range wide.MatchLabels {
		if narrow.MatchLabels[key] != value {
			return false
		}
	}
	for _, e := range wide.MatchExpressions {
		if !slices.ContainsFunc(narrow.MatchExpressions, func(o metav1.LabelSelectorRequirement) bool { return o.String() == e.String() }) {
			return false
		}
	}
	return true
}

// everybody tells whether a selector asks for nothing.
func everybody(s *fleet.Selector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }
