package gate

import (
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/status"
)

// Content is what the adoption of content depends on, besides Input.
type Content struct {
	// Revision is the commit whose content is adopted here, and Content its hash; empty if none is.
	Revision string
	Content  string
	// Unknown is set instead when the app is here and what was adopted could not be found out.
	Unknown bool
	// Head is the hash of the content that the app has here at head.
	Head string
	// Proven are hashes of contents that have soaked here.
	Proven []string
	// SoaksUntil is when the adopted content will have soaked here, if it stays Ready; zero if it has,
	// or is not Ready: see Soaked.
	SoaksUntil time.Time
	// Usable tells whether the app and this cluster are declared at an older revision, so that there is
	// a content to take.
	Usable func(revision string) bool
	// Placed tells whether another app is placed on this cluster.
	Placed func(app string) bool
	// Ready tells whether another app is Ready here with the content that it has at a revision, or with
	// that of a later one.
	Ready func(app, revision string) bool
}

// Adoption is which content may be adopted.
type Adoption struct {
	// Revision is the commit whose content is to be enforced: head, an older one that others have
	// proven, or the one that is adopted. Empty means that there is none: what is here stays as it is.
	Revision string
	// Held says what keeps it from being head; nil if nothing does.
	Held *Held
}

// Adopt decides which content of the app may be adopted on this cluster, on which it is placed at head.
func Adopt(in Input, c Content) Adoption {
	if c.Revision != "" && c.Content == c.Head {
		return Adoption{Revision: in.Head}
	}
	target, held := "", in.frozen(c)
	if held == nil {
		target, held = in.wave(c)
	}
	if held != nil && target == "" && c.Revision == "" && !c.Unknown {
		// There is nothing to keep, and a cluster that takes over must have some content.
		if !in.asked("") {
			ask := in.asking(held.Gate, nil, "is new here, and first asks the others which revision they have proven")
			ask.Asks.All, ask.Pending = true, true
			return Adoption{Held: ask}
		}
		if target = in.newestProven(c.Usable); target == in.Head {
			held = nil
		}
	}
	if target == "" {
		return Adoption{Revision: c.Revision, Held: held}
	}
	if depends := in.depends(c, target); depends != nil {
		return Adoption{Revision: c.Revision, Held: depends}
	}
	return Adoption{Revision: target, Held: held}
}

// frozen holds new content where fleet.yaml says so.
func (in *Input) frozen(c Content) *Held {
	self, ok := in.Fleet.Cluster(in.Cluster)
	if !ok {
		return nil
	}
	freeze, frozen := in.Fleet.Frozen(self)
	if !frozen {
		return nil
	}
	why := "this cluster is frozen"
	if freeze.Reason != "" {
		why += ": " + freeze.Reason
	}
	if c.Unknown {
		why += " (what was adopted before is not known, so its objects stay as they are)"
	}
	return in.asking(status.GateFreeze, nil, "%s", why)
}

// depends holds content while an app that it needs is not Ready here at the same revision.
func (in *Input) depends(c Content, revision string) *Held {
	i := slices.IndexFunc(in.App.Spec.DependsOn, func(d string) bool { return !c.Placed(d) || !c.Ready(d, revision) })
	if i < 0 {
		return nil
	}
	d := in.App.Spec.DependsOn[i]
	if !c.Placed(d) {
		return in.asking(status.GateDependsOn, nil, "depends on app %q, which is not placed on this cluster", d)
	}
	return in.asking(status.GateDependsOn, nil, "waits for app %q to be Ready at commit %s", d, short(revision))
}
