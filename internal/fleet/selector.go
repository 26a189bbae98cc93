package fleet

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Matches tells whether a cluster with these labels is selected, by the rules of a Kubernetes label
// selector; compiling one would cost a hundred times more. Decoding has refused invalid selectors, so
// one can only come from code; an operator that is none, or has values it should not have, matches
// nothing, which is the smaller harm.
func (s *Selector) Matches(clusterLabels map[string]string) bool {
	for key, want := range s.MatchLabels {
		if have, ok := clusterLabels[key]; !ok || have != want {
			return false
		}
	}
	for i := range s.MatchExpressions {
		if !meets(&s.MatchExpressions[i], clusterLabels) {
			return false
		}
	}
	return true
}

// meets tells whether labels meet one requirement.
func meets(r *metav1.LabelSelectorRequirement, clusterLabels map[string]string) bool {
	have, ok := clusterLabels[r.Key]
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		return ok && slices.Contains(r.Values, have)
	case metav1.LabelSelectorOpNotIn:
		return len(r.Values) > 0 && (!ok || !slices.Contains(r.Values, have))
	case metav1.LabelSelectorOpExists:
		return ok && len(r.Values) == 0
	case metav1.LabelSelectorOpDoesNotExist:
		return !ok && len(r.Values) == 0
	}
	return false
}
