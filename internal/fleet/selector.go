package fleet

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Matches tells whether a cluster with these labels is selected. To match many clusters, compile once.
func (s *Selector) Matches(clusterLabels map[string]string) bool {
	return s.compile().Matches(labels.Set(clusterLabels))
}

// compile turns s into a matcher. Decoding has refused invalid selectors, so one can only come
// from code; it then matches nothing, which is the smaller harm.
func (s *Selector) compile() labels.Selector {
	compiled, err := metav1.LabelSelectorAsSelector(&s.LabelSelector)
	if err != nil {
		return labels.Nothing()
	}
	return compiled
}
