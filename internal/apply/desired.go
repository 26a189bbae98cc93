package apply

import (
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Desired is what Git wants of this cluster. It replaces the one before as a whole.
type Desired struct {
	// Commit is head.
	Commit string
	Apps   []App
	// Incomplete says why the list of objects that head declares is not whole (an app does not
	// render, a file cannot be read, this cluster's own file is gone). While it says anything,
	// nothing is pruned: an object that is unknown is not an object that is gone.
	Incomplete []string
	// Claimed are ids that head renders for an app whose adopted content does not have them (yet):
	// they are neither applied nor pruned.
	Claimed map[object.ObjMetadata]string
	// Prune is head's brake on deletions.
	Prune fleet.Prune
}

// App is one app's share of Desired.
type App struct {
	Name    string
	Objects []render.Object
	// Invalid are objects that are declared but wrong by themselves: neither applied nor pruned.
	Invalid []ObjectError
	// Unknown keeps the app's objects as they are: what it wants could not be found out.
	Unknown bool
	// Suspended apps are neither written nor healed.
	Suspended bool
	// Leaves is set when the App still exists and is placed on other clusters: its objects go by
	// failover, which is not the brake's business.
	Leaves bool
	// Exclusive apps run on one cluster only: others wait until all of it is gone here.
	Exclusive bool
	// Divided is set while the app's replicas are divided over clusters: those of its target count then.
	Divided *fleet.Replicas
	// Drift is head's drift policy.
	Drift fleet.DriftPolicy
	// Ignore are, by object, the JSON pointers of the fields that are left to others.
	Ignore map[object.ObjMetadata][]string
	// HealthTimeout is how long it may take to become Ready.
	HealthTimeout time.Duration
}
