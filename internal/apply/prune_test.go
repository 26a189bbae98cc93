package apply

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
)

func TestJudge(t *testing.T) {
	yes, no := true, false
	ours := map[string]string{render.LabelInstance: instance}
	tests := []struct {
		name   string
		live   metav1.PartialObjectMetadata
		kept   string // words of why it is kept, "" if it may be deleted
		sameAs string
	}{
		{"ours", metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: ours}}, "", "other"},
		{"no label", metav1.PartialObjectMetadata{}, "does not carry our label", ""},
		{"another instance", metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{render.LabelInstance: "b"}}}, "instance b", ""},
		{"the same under another group", metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: ours, UID: "u"}}, "another API group", "u"},
		{"our namespace", metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "home", Labels: ours}}, "own namespace", ""},
		{"another namespace", metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "away", Labels: ours}}, "", ""},
		{"a controller's", metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: ours, OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "j", Controller: &yes}}}}, "controlled by Job j", ""},
		{"owned, and not controlled", metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: ours, OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "j", Controller: &no}, {Kind: "Job"}}}}, "", ""},
	}
	for key, value := range map[string]string{
		"holdfast.dev/prune": "disabled", "cli-utils.sigs.k8s.io/on-remove": "keep", "client.lifecycle.config.k8s.io/deletion": "detach",
		"kustomize.toolkit.fluxcd.io/prune": "disabled", "argocd.argoproj.io/sync-options": "Validate=false, Prune=false",
	} {
		for _, v := range []string{value, "something-else"} {
			kept := key
			if v != value {
				kept = ""
			}
			tests = append(tests, struct {
				name   string
				live   metav1.PartialObjectMetadata
				kept   string
				sameAs string
			}{key + "=" + v, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: ours, Annotations: map[string]string{key: v}}}, kept, ""})
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, why := judge(&tt.live, instance, "home", map[types.UID]bool{types.UID(tt.sameAs): tt.sameAs != ""})
			if (v != mayDelete) != (tt.kept != "") || !strings.Contains(why, tt.kept) {
				t.Errorf("verdict %d because %q, want %q", v, why, tt.kept)
			}
		})
	}
}

func TestBrakes(t *testing.T) {
	n := func(i int) *int { return &i }
	tests := []struct {
		name         string
		limit        fleet.Prune
		orphans, all int
		want         bool
	}{
		{"nothing", fleet.Prune{}, 0, 100, false},
		{"by default: at the percentage", fleet.Prune{}, 30, 100, false},
		{"by default: above it", fleet.Prune{}, 31, 100, true},
		{"by default: too few", fleet.Prune{}, 9, 10, false},
		{"by default: just enough", fleet.Prune{}, 10, 11, true},
		{"no deletion at all", fleet.Prune{MinObjects: n(0), MaxPercent: n(0)}, 1, 1000, true},
		{"nothing, with no deletion at all", fleet.Prune{MinObjects: n(0), MaxPercent: n(0)}, 0, 1000, false},
		{"any deletion", fleet.Prune{MaxPercent: n(100)}, 1000, 1000, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := brakes(tt.limit, tt.orphans, tt.all); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
