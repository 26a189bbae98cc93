package apply

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// brakes tells whether a commit that orphans that many of all objects of this cluster deletes too
// much: at least minObjects and more than maxPercent. That it leaves nothing is asked elsewhere.
func brakes(p fleet.Prune, orphans, all int) bool {
	return orphans > 0 && orphans >= p.MinObjectsOrDefault() && orphans*100 > p.MaxPercentOrDefault()*all
}

// verdict is what the live object says about its own deletion.
type verdict int

const (
	mayDelete verdict = iota
	// release keeps the object and forgets it.
	release
	// foreign is release of what is certain to be somebody's now: another instance's, or what Git wants under another
	// API group.
	foreign
)

// judge decides from the live metadata whether an orphan may be deleted. What somebody else claims,
// or an annotation protects, stays and is no longer ours.
func judge(live *metav1.PartialObjectMetadata, instance, namespace string, sameAs map[types.UID]bool) (verdict, string) {
	switch owner := live.Labels[render.LabelInstance]; {
	case owner == "":
		return release, "it does not carry our label " + render.LabelInstance
	case owner != instance:
		return foreign, "it belongs to the instance " + owner
	}
	if sameAs[live.UID] {
		return foreign, "it is desired under another API group"
	}
	if live.Kind == "Namespace" && live.Name == namespace {
		return release, "it is the agent's own namespace"
	}
	if key := Keeps(live.Annotations); key != "" {
		return release, "annotation " + key
	}
	for _, o := range live.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return release, "it is controlled by " + o.Kind + " " + o.Name
		}
	}
	return mayDelete, ""
}

// Keeps returns the annotation that forbids the deletion of its object, or "".
func Keeps(annotations map[string]string) string {
	switch {
	case annotations[live.AnnotationPrune] == "disabled":
		return live.AnnotationPrune
	case annotations[live.AnnotationOnRemove] == "keep":
		return live.AnnotationOnRemove
	case annotations[live.AnnotationDeletion] == "detach":
		return live.AnnotationDeletion
	case annotations[live.AnnotationFluxPrune] == "disabled":
		return live.AnnotationFluxPrune
	}
	for _, option := range strings.Split(annotations[live.AnnotationArgoSync], ",") {
		if strings.TrimSpace(option) == "Prune=false" {
			return live.AnnotationArgoSync
		}
	}
	return ""
}
