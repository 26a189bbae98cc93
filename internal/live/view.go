package live

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"
)

// View is what is known of one object in the cluster, reduced to what decisions need. It comes from
// a watch event, a list, or the answer to our own write; contents never stay in memory.
type View struct {
	ID              object.ObjMetadata
	UID             types.UID
	ResourceVersion string
	// Fingerprint tells whether the fields that we own are as we left them: equal to the one that
	// our last apply returned, or drift. Empty if we own nothing of the object.
	Fingerprint string
	// Status and Message are kstatus' verdict. Kinds without a status are Current when they exist.
	Status  status.Status
	Message string
	// Replicas and ReadyReplicas are what the object's spec.replicas asks for and its status.readyReplicas says, 0 if
	// it has none.
	Replicas, ReadyReplicas int32
	// OwnsReplicas is set when spec.replicas of a kind that autoscalers scale (see Scaled) is among
	// the fields that we own.
	OwnsReplicas bool
	// Instance and App are the values of our labels on the live object.
	Instance string
	App      string
	// Annotations are the live ones that steer reconciliation (see Steering), nil for most.
	Annotations map[string]string
	// Human is set when a person's tool (kubectl, a browser) owns fields that we do not: drift in
	// Strict mode only.
	Human bool
	// Deleting is set while the object waits for its finalizers.
	Deleting bool
	// Managed is the live managedFields, for the drift report: kept only until the
	// decision about this event is made. It is empty in what an Engine stores.
	Managed []metav1.ManagedFieldsEntry
}

// Steering lists the annotations, from Git or live, that change how an object is reconciled.
var Steering = []string{
	AnnotationPrune, AnnotationReconcile, AnnotationReplace,
	AnnotationDependsOn, AnnotationOnRemove, AnnotationDeletion,
	AnnotationFluxPrune, AnnotationArgoSync,
}

// Annotations of the contract (design section 1), ours and those of others that we honour.
const (
	AnnotationPrune     = "holdfast.dev/prune"
	AnnotationReconcile = "holdfast.dev/reconcile"
	AnnotationReplace   = "holdfast.dev/replace"

	AnnotationDependsOn = "config.kubernetes.io/depends-on"
	AnnotationOnRemove  = "cli-utils.sigs.k8s.io/on-remove"
	AnnotationDeletion  = "client.lifecycle.config.k8s.io/deletion"
	AnnotationFluxPrune = "kustomize.toolkit.fluxcd.io/prune"
	AnnotationArgoSync  = "argocd.argoproj.io/sync-options"
)
