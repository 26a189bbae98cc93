package failover

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

// Check returns an error for the first selector that matches no cluster of the fleet, with what was
// probably meant. To drain nothing is never what was meant.
func (c Change) Check(f *fleet.Fleet) error {
	for _, selector := range c.Selectors {
		if slices.ContainsFunc(f.Clusters, func(c *fleet.Cluster) bool { return selector.AsSelector().Matches(labels.Set(c.Labels)) }) {
			continue
		}
		return fmt.Errorf("no cluster matches %s: %s", selector, whyNone(selector, f))
	}
	return nil
}

// whyNone says which part of a selector matches no cluster.
func whyNone(selector labels.Set, f *fleet.Fleet) string {
	keys, values := map[string]bool{}, map[string]map[string]bool{}
	for _, c := range f.Clusters {
		for key, value := range c.Labels {
			if keys[key] = true; values[key] == nil {
				values[key] = map[string]bool{}
			}
			values[key][value] = true
		}
	}
	if len(f.Clusters) == 0 {
		return "the fleet has none"
	}
	for _, key := range sorted(selector) {
		switch value := selector[key]; {
		case !keys[key] && len(keys) == 0:
			return "the fleet's clusters have no labels"
		case !keys[key]:
			return fmt.Sprintf("none has the label %q%s; there are %s", key, spell.DidYouMean(key, sorted(keys)), moves.List(sorted(keys), mostNamed, ""))
		case !values[key][value]:
			known := sorted(values[key])
			return fmt.Sprintf("none has the value %q%s; the values of %s are %s", value, spell.DidYouMean(value, known), key, moves.List(known, mostNamed, ""))
		}
	}
	return "each label is there, but no cluster has all of them"
}

// mostNamed is how many labels or values are named in a message.
const mostNamed = 20

// Pairs lists what the labels of the fleet's clusters are, as key=value.
func Pairs(f *fleet.Fleet) (pairs []string) {
	seen := map[string]bool{}
	for _, c := range f.Clusters {
		for key, value := range c.Labels {
			seen[key+"="+value] = true
		}
	}
	return sorted(seen)
}

// Drains lists the drains of the fleet that consist of labels, as key=value,key=value.
func Drains(f *fleet.Fleet) (drains []string) {
	for i := range f.Settings.Spec.Drain {
		if s := &f.Settings.Spec.Drain[i].ClusterSelector; len(s.MatchExpressions) == 0 && len(s.MatchLabels) > 0 {
			drains = append(drains, labels.Set(s.MatchLabels).String())
		}
	}
	return drains
}

// ParseSelector reads key=value,key=value.
func ParseSelector(text string) (labels.Set, error) {
	set := labels.Set{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q: want key=value, such as region=us-east: a label of the clusters (to take out a single cluster, set state: Drained in its cluster.yaml)", text)
		}
		if _, twice := set[key]; twice {
			return nil, fmt.Errorf("%q: the label %s is given twice; for two drains, give the flag twice", text, key)
		}
		set[key] = value
	}
	if _, err := set.AsValidatedSelector(); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return set, nil
}

func sorted[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }
