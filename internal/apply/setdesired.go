package apply

import (
	"slices"
	"sort"
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/render"
)

// SetDesired replaces what Git wants. It returns the ids of the requests in flight that are out of
// date: the caller should cancel them.
func (e *Engine) SetDesired(d Desired, now time.Time) (stale []object.ObjMetadata) {
	e.desired, e.started = d, true
	desired, keep, invalid := e.assign(d)
	deps, bad := dependencies(desired)

	for id, obj := range desired {
		o := e.entry(id)
		e.setApp(o, obj.App)
		if o.desired == nil || o.desired.Hash != obj.Hash {
			if o.rec == nil || o.rec.Hash != obj.Hash {
				o.changed = d.Commit
			}
			o.retry, o.failures, o.err = time.Time{}, 0, nil
			if o.task != nil {
				stale = append(stale, id)
			}
		}
		o.desired, o.kept, o.claimed, o.wait = obj, false, "", ""
		o.bad = bad[id]
		o.orphaned, o.deleting = time.Time{}, false
		if o.rec == nil {
			o.rec = &Record{App: obj.App, Commit: d.Commit}
			e.save(o, now)
		} else if o.rec.Orphaned != "" || o.rec.Braked {
			o.rec.Orphaned, o.rec.Braked = "", false
			e.save(o, now)
		}
	}
	for id, o := range e.objs {
		if desired[id] != nil {
			continue
		}
		if o.desired != nil && o.task != nil {
			stale = append(stale, id)
		}
		o.kept = keep[o.app] || invalid[id]
		o.claimed = d.Claimed[id]
		o.bad, o.changed = nil, ""
		if o.kept || o.claimed != "" {
			continue // as it was: an object that was healed goes on being healed
		}
		if o.desired != nil {
			o.desired = nil
			o.retry, o.failures, o.err = time.Time{}, 0, nil
		}
	}
	e.link(deps, now)
	e.await(e.brake(now), now)
	for name, a := range e.apps {
		if len(a.entries) == 0 && a.Objects == nil {
			delete(e.apps, name)
		}
	}
	for _, o := range e.objs {
		e.touch(o)
	}
	return stale
}

// assign settles which app declares each object. An object that two apps declare stays with the app
// that has it; where neither has, with the first by name. The others are told.
func (e *Engine) assign(d Desired) (desired map[object.ObjMetadata]*render.Object, keep map[string]bool, invalid map[object.ObjMetadata]bool) {
	desired = map[object.ObjMetadata]*render.Object{}
	e.losers = map[object.ObjMetadata]map[string]string{}
	keep = map[string]bool{}
	invalid = map[object.ObjMetadata]bool{}
	for _, a := range e.apps {
		a.App = App{Name: a.Name}
	}
	apps := append([]App(nil), d.Apps...)
	sort.Slice(apps, func(i, j int) bool { return apps[i].Name < apps[j].Name })
	for _, a := range apps {
		e.appEntry(a.Name).App = a
		if a.Unknown {
			keep[a.Name] = true
		}
		for _, bad := range a.Invalid {
			invalid[bad.ID] = true
		}
		for i := range a.Objects {
			obj := &a.Objects[i]
			other := desired[obj.ID]
			if other == nil {
				desired[obj.ID] = obj
				continue
			}
			winner, loser := other, obj
			if o := e.objs[obj.ID]; o != nil && o.rec != nil && o.rec.App == obj.App {
				winner, loser = obj, other
			}
			desired[obj.ID] = winner
			if e.losers[obj.ID] == nil {
				e.losers[obj.ID] = map[string]string{}
			}
			e.losers[obj.ID][loser.App] = winner.App
		}
	}
	return desired, keep, invalid
}

// link lays the edges between entries and records them where deletion will need them.
func (e *Engine) link(deps map[object.ObjMetadata][]object.ObjMetadata, now time.Time) {
	for _, o := range e.objs {
		o.deps, o.rdeps = o.deps[:0], o.rdeps[:0]
	}
	for id, o := range e.objs {
		if o.desired == nil || o.kept || o.claimed != "" {
			continue
		}
		var keys []string
		for _, d := range deps[id] {
			dep := e.objs[d]
			if dep == nil {
				continue // said by dependencies
			}
			o.deps = append(o.deps, dep)
			dep.rdeps = append(dep.rdeps, o)
			if d.GroupKind != namespaceKind && d.GroupKind != crdKind {
				keys = append(keys, dep.key)
			}
		}
		if o.bad == nil && !slices.Equal(keys, o.rec.DependsOn) { // a cycle could never be deleted
			o.rec.DependsOn = keys
			e.setDependsOn(o, keys)
			e.save(o, now)
		}
	}
}

// brake marks what the present commit orphaned, and holds it if the commit leaves nothing or deletes too
// much. It returns the apps that have new orphans.
func (e *Engine) brake(now time.Time) (orphaned map[string]bool) {
	var orphans []*entry
	all, counted, left := 0, 0, 0
	orphaned = map[string]bool{}
	for _, o := range e.objs {
		if o.desired != nil || o.kept || o.claimed != "" {
			left++
		}
		if o.rec == nil || o.rec.Braked {
			continue
		}
		if o.rec.Hash != "" {
			all++
		}
		if !e.orphan(o) {
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
		if e.leaves(o) || o.live != nil && keeps(o.live.Annotations) != "" {
			continue
		}
		// What was never applied for all that is known may be what the server is just adopting.
		orphans = append(orphans, o)
		if o.rec.Hash != "" {
			counted++
		}
	}
	if left == 0 || len(orphaned) > 0 && brakes(e.desired.Prune, counted, all) {
		for _, o := range orphans {
			o.rec.Braked = true
			e.save(o, now)
		}
	}
	return orphaned
}

// await notes on what the present commit created or changed, and is not healthy yet, that the commit's
// orphans wait for it. The note stays when later commits change the object again, until it is healthy
// or the orphans are gone or back. An app whose orphans could not be told from others at the commit that
// brought the object (see Desired.Incomplete) gets them now, and they wait for all that is noted.
func (e *Engine) await(orphaned map[string]bool, now time.Time) {
	head := e.desired.Commit
	for name, a := range e.apps {
		commits := map[string]bool{}
		for o := range a.entries {
			if e.orphan(o) {
				commits[o.rec.Orphaned] = true
			}
		}
		clear(a.successors)
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
				changed := s.changed == head || s.rec.Commit == head || orphaned[name] && len(s.rec.Awaited) > 0
				if changed && (commits[head] || commits[""]) && !slices.Contains(awaited, head) {
					awaited = append(awaited, head)
				}
			}
			if len(awaited) > 0 {
				a.successors[s] = struct{}{}
			}
			if !slices.Equal(awaited, s.rec.Awaited) {
				s.rec.Awaited = awaited
				e.save(s, now)
			}
		}
	}
}

func (e *Engine) orphan(o *entry) bool {
	return o.rec != nil && o.desired == nil && !o.kept && o.claimed == ""
}

func (e *Engine) leaves(o *entry) bool {
	a := e.apps[o.app]
	return a != nil && a.Leaves
}

func (e *Engine) permitted(o *entry, now time.Time) bool {
	return e.desired.Prune.Permits(o.app, o.id.GroupKind.Kind, now)
}
