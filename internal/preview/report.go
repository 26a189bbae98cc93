package preview

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// report is a Diff as people read it, whatever it is written in.
type report struct {
	// causes are what changes in the settings of the fleet, its clusters and its apps.
	causes []string
	// facts are what is wanted next: a word and a text each.
	facts [][2]string
	// warnings and immutable are grouped by what they say.
	warnings, immutable []note
	// held are the deletions that wait for a permit, stuck those that no permit releases.
	held  []release
	stuck []note
	// deletes are objects that go for good: not because their app is placed elsewhere.
	deletes []group
	// clusters is a table of what happens where.
	clusters [][]string
	moves    []moves.Section
	rollouts []rollout
	changes  []group
}

// note is something that is said of clusters, on one line.
type note struct {
	text     string
	clusters []string
}

// notes collects what is said of which clusters.
type notes struct {
	order []string
	where map[string][]string
}

func (n *notes) add(text, cluster string) {
	text = plain.Line(text)
	if n.where == nil {
		n.where = map[string][]string{}
	}
	if n.where[text] == nil {
		n.order = append(n.order, text)
	}
	n.where[text] = append(n.where[text], cluster)
}

func (n *notes) list() (all []note) {
	for _, text := range n.order {
		all = append(all, note{text, n.where[text]})
	}
	return all
}

// release is a permit with what it releases.
type release struct {
	Permit

	objects  []object.ObjMetadata
	clusters []string
}

// rollout is what the new content of some apps waits for, a line each.
type rollout struct{ apps, lines []string }

// report sorts a Diff out for people.
func (d *Diff) report() *report {
	r := &report{moves: moves.Sections(d.Moves), clusters: d.table()}
	var warnings, stuck, immutable notes
	for i := range d.Clusters {
		c := &d.Clusters[i]
		for _, text := range c.Warnings {
			warnings.add(text, c.Name)
		}
		for _, h := range c.Holds {
			if h.Cause == Incomplete || h.Cause == Suspended {
				stuck.add(fmt.Sprintf("app %s: %s: %s", h.App, h.Why, objectNames(h.Objects)), c.Name)
			}
		}
		for _, a := range c.Apps {
			for j := range a.Objects {
				if o := &a.Objects[j]; len(o.Immutable) > 0 {
					immutable.add(immutableText(o), c.Name)
				}
			}
		}
	}
	r.warnings, r.stuck, r.immutable = warnings.list(), stuck.list(), immutable.list()
	for _, p := range d.Permits {
		r.held = append(r.held, d.release(p))
	}
	for _, g := range d.groups() {
		r.sort(d, g)
	}
	r.rollouts = d.rollouts()
	r.summary(d)
	return r
}

// release finds what a permit releases.
func (d *Diff) release(p Permit) release {
	r := release{Permit: p}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		for _, h := range c.Holds {
			if h.App != p.App || h.Cause != p.cause() {
				continue
			}
			r.clusters = append(r.clusters, c.Name)
			r.objects = append(r.objects, h.Objects...)
		}
	}
	slices.SortFunc(r.objects, compareIDs)
	r.clusters, r.objects = slices.Compact(r.clusters), slices.Compact(r.objects)
	return r
}

// sort puts a group of changes where it is read. Objects that come or go because their app is placed elsewhere are
// told as moves of the app, unless one cluster alone is looked at.
func (r *report) sort(d *Diff, g group) {
	moved := !d.single && (g.place == Arrives || g.place == Leaves && !d.ends(g.app))
	deletes, changes := g, g
	deletes.changes, changes.changes = nil, nil
	for _, c := range g.changes {
		switch {
		case moved && c.Action != Configure:
		case c.Action == Delete:
			deletes.changes = append(deletes.changes, c)
		default:
			changes.changes = append(changes.changes, c)
		}
	}
	if len(deletes.changes) > 0 {
		r.deletes = append(r.deletes, deletes)
	}
	if len(changes.changes) > 0 {
		r.changes = append(r.changes, changes)
	}
}

// ends tells whether an app has no cluster left and does not wait for one.
func (d *Diff) ends(app string) bool {
	return slices.ContainsFunc(d.Moves, func(a moves.App) bool { return a.Name == app && a.Nowhere() && !a.KeepsRunning() })
}

// table says what happens in which clusters; those in which the same happens share a row.
func (d *Diff) table() [][]string {
	rows := [][]string{{"CLUSTERS", "CREATED", "CHANGED", "DELETED", "HELD", "COME", "GO"}}
	where := map[string][]string{}
	var order []string
	for i := range d.Clusters {
		c := &d.Clusters[i]
		n, held, apps := c.Counts(), 0, map[Place][]string{}
		for _, h := range c.Holds {
			held += len(h.Objects)
		}
		for _, a := range c.Apps {
			apps[a.Place] = append(apps[a.Place], a.Name)
		}
		cells := []string{
			figure(n.Create), figure(n.Configure), figure(n.Delete), figure(held),
			named(slices.Concat(apps[New], apps[Arrives])), named(slices.Concat(apps[Leaves], apps[Ends])),
		}
		key := strings.Join(cells, "\x00")
		if where[key] == nil {
			order = append(order, key)
		}
		where[key] = append(where[key], c.Name)
	}
	for _, key := range order {
		rows = append(rows, append([]string{d.counted(where[key])}, strings.Split(key, "\x00")...))
	}
	return rows
}

// mostApps are named in a cell.
const mostApps = 3

func named(apps []string) string { return plain.Line(moves.List(apps, mostApps, "")) }

func figure(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// rollouts tells what new content waits for, apps that wait for the same together.
func (d *Diff) rollouts() (told []rollout) {
	index := map[string]int{}
	for i := range d.Rollouts {
		lines := d.waits(&d.Rollouts[i])
		key := strings.Join(lines, "\n")
		k, ok := index[key]
		if !ok {
			k = len(told)
			index[key] = k
			told = append(told, rollout{lines: lines})
		}
		told[k].apps = append(told[k].apps, d.Rollouts[i].App)
	}
	return told
}

func (d *Diff) waits(r *Rollout) (lines []string) {
	for _, w := range r.Waves {
		text := fmt.Sprintf("wave %d: %s", w.Number, d.counted(w.Clusters))
		if w.Soak > 0 {
			text += fmt.Sprintf("; soak %s", w.Soak)
		}
		if w.Stuck {
			text += "; waits for an earlier wave that is frozen"
		}
		lines = append(lines, text)
	}
	if len(r.After) > 0 {
		lines = append(lines, "on each cluster after "+strings.Join(r.After, ", "))
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Frozen)) {
		lines = append(lines, fmt.Sprintf("frozen%s, keeps its content: %s", because(reason), d.counted(r.Frozen[reason])))
	}
	for _, cluster := range slices.Sorted(maps.Keys(r.Nowhere)) {
		lines = append(lines, fmt.Sprintf("never on %s, since it depends on %s, which is not placed there", cluster, r.Nowhere[cluster]))
	}
	for i := range lines {
		lines[i] = plain.Line(lines[i])
	}
	return lines
}

// summary writes what a person wants first.
func (r *report) summary(d *Diff) {
	fact := func(word, format string, args ...any) {
		r.facts = append(r.facts, [2]string{word, plain.Line(fmt.Sprintf(format, args...))})
	}
	apps := map[string]bool{}
	for i := range d.Clusters {
		for _, a := range d.Clusters[i].Apps {
			apps[a.Name] = true
		}
	}
	for _, cause := range d.Causes {
		r.causes = append(r.causes, plain.Line(cause))
	}
	if len(d.Clusters) == 0 {
		return
	}
	fact("Clusters", "%d of %d", len(d.Clusters), d.of)
	if len(apps) > 0 {
		fact("Apps", "%d: %s", len(apps), moves.List(slices.Sorted(maps.Keys(apps)), mostNamed, ""))
	}
	n, held, kept, superseded := d.counts()
	text := fmt.Sprintf("%d created, %d changed, %d deleted", n.Create, n.Configure, n.Delete)
	var of []string
	for _, part := range []struct {
		n    int
		text string
	}{{held, "held"}, {kept, "kept by an annotation"}, {superseded, "old versions of generated ones"}} {
		if part.n > 0 {
			of = append(of, fmt.Sprintf("%d %s", part.n, part.text))
		}
	}
	if len(of) > 0 {
		text += " (" + strings.Join(of, ", ") + ")"
	}
	fact("Objects", "%s", text)
	if len(r.warnings) > 0 {
		fact("Warnings", "%d", len(r.warnings))
	}
	r.replicas(d, fact)
	r.gates(d, fact)
	r.brakes(d, fact)
	if len(r.immutable) > 0 {
		fact("Immutable", "%s", moves.Count(len(r.immutable), "object has fields that cannot be changed", "objects have fields that cannot be changed"))
	}
}

// replicas tells how many of the divided replicas move, and where there are more or fewer of them.
func (r *report) replicas(d *Diff, fact func(string, string, ...any)) {
	var texts []string
	for i := range d.Moves {
		a := &d.Moves[i]
		var up, down int64
		for _, m := range a.Moves() {
			if m.Before != nil && m.After != nil {
				up += int64(max(0, *m.After-*m.Before))
				down += int64(max(0, *m.Before-*m.After))
			}
		}
		if moved := min(up, down); moved > 0 {
			texts = append(texts, fmt.Sprintf("%d of %s move", moved, a.Name))
		}
		if up != down {
			texts = append(texts, fmt.Sprintf("%+d of %s", up-down, a.Name))
		}
	}
	if len(texts) > 0 {
		fact("Replicas", "%s", moves.List(texts, mostNamed, ""))
	}
}

// gates tells which gates the change passes through, and how many apps at each.
func (r *report) gates(d *Diff, fact func(string, string, ...any)) {
	apps := map[status.Gate]int{}
	for i := range d.Moves {
		a := &d.Moves[i]
		if slices.ContainsFunc(a.Moves(), moves.Move.Shrinks) && !a.Forced && !a.Spec.Suspend {
			switch a.Gate() {
			case fleet.TakeoverHealthy:
				apps[status.GateTakeoverHealthy]++
			case fleet.Exclusive:
				apps[status.GateExclusive]++
			case fleet.NoGate:
			}
		}
	}
	waves := 0
	for i := range d.Rollouts {
		o := &d.Rollouts[i]
		waves = max(waves, len(o.Waves))
		apps[status.GateWave] += min(1, max(0, len(o.Waves)-1))
		apps[status.GateFreeze] += min(1, len(o.Frozen))
		apps[status.GateDependsOn] += min(1, len(o.After)+len(o.Nowhere))
	}
	var texts []string
	for _, gate := range []status.Gate{status.GateTakeoverHealthy, status.GateExclusive, status.GateWave, status.GateDependsOn, status.GateFreeze} {
		n := apps[gate]
		if n == 0 {
			continue
		}
		of := moves.Count(n, "app", "apps")
		if gate == status.GateWave {
			of += fmt.Sprintf(", up to %d waves", waves)
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", gate, of))
	}
	if len(texts) > 0 {
		fact("Gates", "%s", strings.Join(texts, ", "))
	}
}

// brakes tells where deletions are held and why.
func (r *report) brakes(d *Diff, fact func(string, string, ...any)) {
	where, n := map[Cause][]string{}, map[Cause]int{}
	for i := range d.Clusters {
		for _, h := range d.Clusters[i].Holds {
			where[h.Cause] = append(where[h.Cause], d.Clusters[i].Name)
			n[h.Cause] += len(h.Objects)
		}
	}
	for _, c := range []struct {
		cause      Cause
		word, text string
	}{
		{Brake, "Brake", "%s held, being too many at once"},
		{Protected, "Protected", "%s held, of protected kinds"},
		{Incomplete, "Incomplete", "%s held, as what is wanted is not fully known"},
		{Suspended, "Suspended", "%s held, of suspended apps"},
	} {
		if clusters := slices.Compact(where[c.cause]); len(clusters) > 0 {
			fact(c.word, c.text+", %s", deletions(n[c.cause]), d.in(clusters))
		}
	}
}

// sign is how an action is marked.
func (c *change) sign() string {
	switch c.Action {
	case Create:
		return "+"
	case Delete:
		return "-"
	case Configure:
	}
	return "~"
}

// heading names a changed object and what is to be known of it.
func (c *change) heading() string {
	text := render.Name(c.ID)
	if c.Was != "" {
		text += ", was " + c.Was
	}
	switch {
	case c.Held != "":
		text += "  (held: " + string(c.Held) + ")"
	case c.Note != "":
		text += "  (" + c.Note + ")"
	}
	if c.ways > 0 {
		text += fmt.Sprintf("  (and differently on %s)", moves.Count(c.more, "other cluster", "other clusters"))
	}
	return plain.Line(text)
}

// title says what a group is about.
func (d *Diff) title(g *group) string {
	what := map[Place]string{New: " is new", Arrives: " comes", Leaves: " goes", Ends: " ends"}[g.place]
	return plain.Line(g.app+what) + " " + d.in(g.clusters)
}

// what is released, by name where that is short.
func (r *release) what() string {
	if len(r.objects) <= 2 {
		return objectNames(r.objects)
	}
	return fmt.Sprintf("%d objects", len(r.objects))
}
