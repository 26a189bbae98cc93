package status

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What every AppStatus is made of.
const (
	// Kind is the kind of AppStatus.
	Kind = "AppStatus"
	// LabelInstance names the agent that owns the object. It is the label that every applied object carries.
	LabelInstance = "holdfast.dev/instance"
	// LabelApp names the app.
	LabelApp = "holdfast.dev/app"
)

// Bounds of what an AppStatus holds: it is for people, and etcd keeps every version for a while. The
// full lists are in the Report.
const (
	maxErrors       = 50
	maxHeld         = 20
	maxErrorMessage = 512
	maxHeldReason   = 2048
	maxMessage      = 512
)

// GVK is the kind of AppStatus and GVR its resource.
var (
	GVK = schema.GroupVersionKind{Group: "holdfast.dev", Version: "v1alpha1", Kind: Kind}
	GVR = GVK.GroupVersion().WithResource("appstatuses")
)

// AppStatus is one app on this cluster, for kubectl and for an agent that comes back without its data
// dir. It is cluster-scoped and named for the app. Only the agent writes it.
type AppStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Status AppStatusStatus `json:"status"`
}

// AppStatusStatus is the content of an AppStatus.
type AppStatusStatus struct {
	// Conditions are Ready, Reconciling and Stalled, in this order, as kstatus expects them.
	Conditions []metav1.Condition `json:"conditions"`
	// Revision is the commit that last changed the app here.
	Revision string `json:"revision,omitempty"`
	// RevisionShort is Revision as the REVISION column shows it: a column cannot shorten.
	RevisionShort string `json:"revisionShort,omitempty"`
	// Placement is the commit whose placement is enforced, at the time of the last write.
	Placement string `json:"placement,omitempty"`
	// Proven is the last revision that soaked here, at the time of the last write.
	Proven string `json:"proven,omitempty"`
	// Content is the hash of the rendered objects before replica division.
	Content string `json:"content,omitempty"`
	// ProvenContents are the last contents that soaked here, newest first.
	ProvenContents []string `json:"provenContents,omitempty"`
	// Objects is how many objects of the app this cluster has.
	Objects int `json:"objects"`
	// Replicas are the app's replicas on this cluster.
	Replicas Replicas `json:"replicas"`
	// Drift counts the corrections.
	Drift AppStatusDrift `json:"drift"`
	// Held are the gates that hold.
	Held []AppStatusHeld `json:"held,omitempty"`
	// Errors are the first errors, by object.
	Errors []ObjectError `json:"errors,omitempty"`
	// ErrorsOmitted is how many errors there are beside those.
	ErrorsOmitted int `json:"errorsOmitted,omitempty"`
}

// AppStatusDrift is Drift, as Kubernetes writes times.
type AppStatusDrift struct {
	Corrected int64        `json:"corrected"`
	Last      *metav1.Time `json:"last,omitempty"`
}

// AppStatusHeld is Held, as Kubernetes writes times.
type AppStatusHeld struct {
	Gate   Gate        `json:"gate"`
	Since  metav1.Time `json:"since"`
	Reason string      `json:"reason"`
}
