package apply

import (
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// protected kinds take data or other people's objects with them: they are kept on every exit
// unless a permit names the kind.
var protected = map[schema.GroupKind]bool{
	namespaceKind:                   true,
	crdKind:                         true,
	{Kind: "PersistentVolumeClaim"}: true,
	{Kind: "PersistentVolume"}:      true,
}

// permitted tells whether Git releases the deletion of an app's object of that kind at that time.
// A permit that names no kinds does not release protected ones.
func permitted(p fleet.Prune, app string, gk schema.GroupKind, at time.Time) bool {
	for _, permit := range p.Permit {
		if permit.App != app || at.After(permit.Until.Time) {
			continue
		}
		if len(permit.Kinds) == 0 && !protected[gk] {
			return true
		}
		for _, k := range permit.Kinds {
			if k == gk.Kind || k == gk.String() {
				return true
			}
		}
	}
	return false
}

// brakes tells whether a commit that orphans that many of all objects of this cluster deletes too
// much: all of them, or at least minObjects and more than maxPercent.
func brakes(p fleet.Prune, orphans, all int) bool {
	minObjects, maxPercent := 10, 30
	if p.MinObjects != nil {
		minObjects = *p.MinObjects
	}
	if p.MaxPercent != nil {
		maxPercent = *p.MaxPercent
	}
	if orphans == 0 {
		return false
	}
	return orphans >= all || orphans >= minObjects && orphans*100 > maxPercent*all
}

// verdict is what the live object says about its own deletion.
type verdict int

const (
	mayDelete verdict = iota
	// release keeps the object and forgets it.
	release
)

// judge decides from the live metadata whether an orphan may be deleted. What somebody else claims,
// or an annotation protects, stays and is no longer ours.
func judge(live *metav1.PartialObjectMetadata, instance, namespace string, sameAs map[types.UID]bool) (verdict, string) {
	switch owner := live.Labels[render.LabelInstance]; {
	case owner == "":
		return release, "it does not carry our label " + render.LabelInstance
	case owner != instance:
		return release, "it belongs to the instance " + owner
	}
	if sameAs[live.UID] {
		return release, "it is desired under another API group"
	}
	if live.Kind == "Namespace" && live.Name == namespace {
		return release, "it is the agent's own namespace"
	}
	if key := keeps(live.Annotations); key != "" {
		return release, "annotation " + key
	}
	for _, o := range live.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return release, "it is controlled by " + o.Kind + " " + o.Name
		}
	}
	return mayDelete, ""
}

// keeps returns the annotation that forbids the deletion of its object, or "".
func keeps(annotations map[string]string) string {
	switch {
	case annotations[AnnotationPrune] == "disabled":
		return AnnotationPrune
	case annotations[AnnotationOnRemove] == "keep":
		return AnnotationOnRemove
	case annotations[AnnotationDeletion] == "detach":
		return AnnotationDeletion
	case annotations[AnnotationFluxPrune] == "disabled":
		return AnnotationFluxPrune
	}
	for _, option := range strings.Split(annotations[AnnotationArgoSync], ",") {
		if strings.TrimSpace(option) == "Prune=false" {
			return AnnotationArgoSync
		}
	}
	return ""
}
