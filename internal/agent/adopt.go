package agent

import (
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// adopted is the content that is enforced here for one app.
type adopted struct {
	// Revision is a commit that has this content.
	Revision string
	// Content is its hash.
	Content string
	// unknown is set instead of these when the app has been here before, and what was adopted could
	// not be found out.
	unknown bool
}

// none tells that there is no content to keep.
func (a adopted) none() bool { return a.Revision == "" }

// gates holds what the decision to adopt depends on, besides the app itself.
type gates struct {
	// Frozen is why the cluster adopts no new content; nil if it does.
	Frozen *fleet.Freeze
	// Placed tells whether an app is placed on this cluster at head.
	Placed func(app string) bool
	// Ready tells whether an app is Ready here with the content that it has at head.
	Ready func(app string) bool
}

// adopt decides whether an app takes over its content of head: it does unless a gate holds it. What
// does not change passes at once. The first adoption is not held by a freeze, since there is nothing
// to keep; it does wait for what the app depends on.
func adopt(app *fleet.App, now adopted, content string, g gates) (take bool, gate status.Gate, why string) {
	if !now.none() && now.Content == content {
		return true, "", ""
	}
	if g.Frozen != nil && now != (adopted{}) {
		why := "this cluster is frozen"
		if g.Frozen.Reason != "" {
			why += ": " + g.Frozen.Reason
		}
		if now.unknown {
			why += " (what was adopted before is not known, so its objects stay as they are)"
		}
		return false, status.GateFreeze, why
	}
	i := slices.IndexFunc(app.Spec.DependsOn, func(d string) bool { return !g.Placed(d) || !g.Ready(d) })
	if i >= 0 {
		d := app.Spec.DependsOn[i]
		if !g.Placed(d) {
			return false, status.GateDependsOn, fmt.Sprintf("depends on app %q, which is not placed on this cluster", d)
		}
		return false, status.GateDependsOn, fmt.Sprintf("waits for app %q to be Ready at this commit", d)
	}
	return true, "", ""
}
