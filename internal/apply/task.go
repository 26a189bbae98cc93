package apply

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Action is what a Task does to its object.
type Action string

// The actions.
const (
	// Apply sends the desired object.
	Apply Action = "apply"
	// Prune deletes the object, if its live state allows it.
	Prune Action = "prune"
)

// Cause is why a Task is done.
type Cause string

// The causes.
const (
	// Sync: Git changed, or the object was never applied.
	Sync Cause = "sync"
	// Drift: the live object is not as we left it.
	Drift Cause = "drift"
)

// Task is one object's next step. It is a value: the Executor needs nothing else.
type Task struct {
	Action Action
	Cause  Cause
	ID     object.ObjMetadata
	App    string
	// Object is what to apply.
	Object *render.Object
	// First is set while the object is not known to be ours: it is then applied without force.
	First bool
	// Ignore are JSON pointers of fields that are left to others.
	Ignore []string
	// NotReplicas is set when it is known that we do not own the live object's replicas.
	NotReplicas bool
	// Replace allows the object to be deleted and created anew if the server will have it no other way.
	Replace bool
	// Human also takes over what people added: in Strict mode, when they did.
	Human bool
	// ResourceVersion and Fingerprint are what the object had when it was last known to be right;
	// empty if it never was.
	ResourceVersion, Fingerprint string
	// Drifted is the live managedFields that told of the drift.
	Drifted []metav1.ManagedFieldsEntry
	// Missing is set when the drift is that the object was gone or without our label.
	Missing bool
	// SameAs are the live UIDs of desired objects: an orphan that is one of them under another API
	// group is not deleted.
	SameAs map[types.UID]bool
	// Last is set on a prune of what others wait to see gone: the object goes only after all that it owns, and is
	// not let go of while it may run something, whatever says that it is not ours: a label that somebody dropped
	// stops nothing.
	Last bool
	// Absent is set on a prune of what is believed to be gone: if it is there after all, it stays.
	Absent bool

	seq int
}

// Outcome is how a Task ended.
type Outcome string

// The outcomes.
const (
	Created    Outcome = "created"
	Configured Outcome = "configured"
	Unchanged  Outcome = "unchanged"
	Replaced   Outcome = "replaced"
	// Pruned: the object is gone.
	Pruned Outcome = "pruned"
	// Deleting: the deletion was accepted and waits for finalizers.
	Deleting Outcome = "deleting"
	// Released: the object stays and is no longer ours.
	Released Outcome = "released"
	// Failed: see Result.Err.
	Failed Outcome = "failed"
)

// Result is how a Task ended.
type Result struct {
	Task    Task
	Outcome Outcome
	Err     error
	// Live is the object after the request; nil if there is none or it is not known.
	Live *live.View
	// Why says why an object was released.
	Why string
	// Managers and Fields say who had changed what, if the Task repaired drift.
	Managers []string
	Fields   []string
	// Took is how long the requests took.
	Took time.Duration
}
