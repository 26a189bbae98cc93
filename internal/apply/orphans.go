package apply

import (
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// brake marks what the present commit orphaned, and holds it if the commit leaves nothing or deletes too
// much. It returns the apps that have new orphans.
func (e *Engine) brake(now time.Time) (orphaned map[string]bool) {
	var orphans []*entry
	counted := 0
	orphaned = map[string]bool{}
	for o := range e.orphans {
		if o.rec.Braked {
			continue
		}
		if o.orphaned.IsZero() {
			o.orphaned = now
		}
		if len(e.desired.Incomplete) > 0 {
			continue
		}
		if o.rec.Orphaned == "" {
			orphaned[o.app] = true
			o.rec.Orphaned = e.desired.Commit
			e.saveLazily(o, now)
		}
		// A permit does not keep an object from being counted and marked: it may run out first.
		if e.leaves(o) || o.live != nil && Keeps(o.live.Annotations) != "" {
			continue
		}
		// What was never applied for all that is known may be what the server is just adopting.
		orphans = append(orphans, o)
		if o.rec.Hash != "" {
			counted++
		}
	}
	if e.left == 0 || len(orphaned) > 0 && brakes(e.desired.Prune, counted, e.applied) {
		for _, o := range orphans {
			o.rec.Braked = true
			e.index(o)
			e.save(o, now)
		}
	}
	return orphaned
}

// await notes on what the present commit created or changed in an app, and is not healthy yet, that the
// commit's orphans wait for it. The note stays when later commits change the object again, until it is healthy
// or the orphans are gone or back. An app whose orphans could not be told from others at the commit that
// brought the object (see Desired.Incomplete) gets them now, and they wait for all that is noted.
func (e *Engine) await(a *appEntry, orphaned bool, now time.Time) {
	head := e.desired.Commit
	commits := map[string]bool{}
	for o := range a.entries {
		if e.orphan(o) {
			commits[o.rec.Orphaned] = true
		}
	}
	a.successors = entries{}
	for s := range a.entries {
		if s.desired == nil || s.rec == nil {
			continue
		}
		var awaited []string
		if !settled(s) && len(commits) > 0 {
			for _, c := range s.rec.Awaited {
				if commits[c] || commits[""] {
					awaited = append(awaited, c)
				}
			}
			changed := s.changed == head || s.rec.Commit == head || orphaned && len(s.rec.Awaited) > 0
			if changed && (commits[head] || commits[""]) && !slices.Contains(awaited, head) {
				awaited = append(awaited, head)
			}
		}
		if len(awaited) > 0 {
			a.successors.add(s)
		}
		if !slices.Equal(awaited, s.rec.Awaited) {
			s.rec.Awaited = awaited
			e.save(s, now)
		}
	}
}

func (e *Engine) orphan(o *entry) bool {
	return o.rec != nil && o.desired == nil && !o.kept && o.claimed == ""
}

// stays tells that an orphan is of a kind that is kept until a permit: it is here, and runs nothing.
func (e *Engine) stays(o *entry) bool { return e.orphan(o) && fleet.ProtectedKind(o.id.GroupKind.Kind) }

func (e *Engine) leaves(o *entry) bool {
	a := e.apps[o.app]
	return a != nil && a.Leaves
}

func (e *Engine) permitted(o *entry, now time.Time) bool {
	return e.desired.Prune.Permits(o.app, o.id.GroupKind.Kind, now)
}

// touchOrphans marks the orphans of an app that waited for one of the commits.
func (e *Engine) touchOrphans(a *appEntry) {
	for o := range a.entries {
		if e.orphan(o) {
			e.touch(o)
		}
	}
}
