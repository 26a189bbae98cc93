package preview

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// group is what changes alike, for one app, on some clusters.
type group struct {
	app      string
	place    Place
	clusters []string
	changes  []change
}

// change is the change of one object, for a person.
type change struct {
	Object
	// shown tells whether the diff is worth reading: that of an object that merely comes or goes is not.
	shown bool
	// ways is in how many ways the object changes beside this one, more on how many clusters: where facts differ.
	ways, more int
}

// mostWays are shown of the ways in which one object changes on different clusters.
const mostWays = 3

// groups tells the changes of all clusters, each once: by app; in an app first what changes, then what comes
// and goes; the widest first. Objects of which only the share of replicas changes are left out.
func (d *Diff) groups() (all []group) {
	type key struct {
		app    string
		place  Place
		id     object.ObjMetadata
		action Action
		held   Cause
		note   string
		lines  string
	}
	type entry struct {
		key
		change
		clusters []string
	}
	var entries []*entry
	byKey := map[key]*entry{}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		for _, a := range c.Apps {
			for _, o := range a.Objects {
				if o.Content == "" || o.Superseded {
					continue
				}
				k := key{app: a.Name, place: a.Place, id: o.ID, action: o.Action, held: o.Held, note: o.Note}
				shown := o.Action == Configure || o.Was != "" || o.Action == Create && (a.Place == Stays || a.Place == New)
				if shown {
					k.lines = changedLines(o.Content)
				}
				e := byKey[k]
				if e == nil {
					e = &entry{key: k, change: change{Object: o, shown: shown}}
					byKey[k] = e
					entries = append(entries, e)
				}
				e.clusters = append(e.clusters, c.Name)
			}
		}
	}
	// Of what changes in many ways, the most common are shown.
	slices.SortStableFunc(entries, func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.app, b.app), cmp.Compare(a.place, b.place), -cmp.Compare(len(a.clusters), len(b.clusters)), compareIDs(a.id, b.id))
	})
	ways := map[key][]*entry{}
	kept := entries[:0]
	for _, e := range entries {
		k := e.key
		k.lines = ""
		most := mostWays
		if e.action != Configure {
			most = 1
		}
		if same := ways[k]; len(same) >= most {
			last := same[len(same)-1]
			last.ways++
			last.more += len(e.clusters)
			if e.action != Configure { // it is there on all of them, whatever it is like
				last.clusters = append(last.clusters, e.clusters...)
			}
			continue
		}
		ways[k] = append(ways[k], e)
		kept = append(kept, e)
	}
	index := map[string]int{}
	for _, e := range kept {
		slices.Sort(e.clusters)
		k := fmt.Sprintf("%s\x00%d\x00%s", e.app, e.place, strings.Join(e.clusters, ","))
		i, ok := index[k]
		if !ok {
			i = len(all)
			index[k] = i
			all = append(all, group{app: e.app, place: e.place, clusters: e.clusters})
		}
		all[i].changes = append(all[i].changes, e.change)
	}
	for i := range all {
		slices.SortFunc(all[i].changes, func(a, b change) int { return cmp.Or(compareIDs(a.ID, b.ID), strings.Compare(a.Content, b.Content)) })
	}
	return all
}

// changedLines are the lines of a unified diff that come or go. The lines around them, and where they stand, do
// not make a change another one.
func changedLines(diff string) string {
	var b strings.Builder
	for line := range body(diff) {
		if line[0] == '+' || line[0] == '-' {
			b.WriteString(line)
		}
	}
	return b.String()
}

// body yields the lines of a unified diff behind its head.
func body(diff string) iter.Seq[string] {
	return func(yield func(line string) bool) {
		n := 0
		for line := range strings.Lines(diff) {
			if n++; n > 2 && !yield(line) {
				return
			}
		}
	}
}

// lines yields what is shown of a change, as far as it can be printed: of a new object no line that says where it
// begins.
func (c *change) lines() iter.Seq[string] {
	return func(yield func(line string) bool) {
		for line := range body(c.Content) {
			if whole := c.Action == Create && c.Was == ""; whole && strings.HasPrefix(line, "@@") {
				continue
			}
			if !yield(plain.Lines(line)) {
				return
			}
		}
	}
}

// counts adds up what all clusters have.
func (d *Diff) counts() (n Counts, held, kept, superseded int) {
	for i := range d.Clusters {
		c := &d.Clusters[i]
		one := c.Counts()
		n.Create, n.Configure, n.Delete = n.Create+one.Create, n.Configure+one.Configure, n.Delete+one.Delete
		for _, h := range c.Holds {
			held += len(h.Objects)
		}
		for _, a := range c.Apps {
			for _, o := range a.Objects {
				switch {
				case o.Action == Delete && o.Note != "" && o.Held == "":
					kept++
				case o.Superseded:
					superseded++
				}
			}
		}
	}
	return n, held, kept, superseded
}

// mostNamed is how many clusters are named in a line.
const mostNamed = 6

// listed names clusters or apps, and how many they are if they are many.
func listed(names []string) string { return plain.Line(moves.List(names, mostNamed, "none")) }

// in says where something happens.
func (d *Diff) in(clusters []string) string { return d.where(clusters, listed) }

// where is in, with the names as list writes them.
func (d *Diff) where(clusters []string, list func([]string) string) string {
	switch {
	case len(clusters) == 1:
		return "in " + list(clusters)
	case slices.Equal(clusters, d.names):
		return fmt.Sprintf("in all %d clusters", len(clusters))
	}
	return fmt.Sprintf("in %d clusters: %s", len(clusters), list(clusters))
}

// briefly is in, for a line that says something else first: many clusters are not named.
func (d *Diff) briefly(clusters []string) string {
	if n := len(clusters); n > 3 && n < len(d.names) {
		return fmt.Sprintf("in %d clusters", n)
	}
	return d.in(clusters)
}

// counted names clusters, with their number if they are many.
func (d *Diff) counted(clusters []string) string {
	switch {
	case len(clusters) > 1 && slices.Equal(clusters, d.names):
		return fmt.Sprintf("all %d", len(clusters))
	case len(clusters) <= mostNamed:
		return listed(clusters)
	}
	return fmt.Sprintf("%d: %s", len(clusters), listed(clusters))
}

func deletions(n int) string { return moves.Count(n, "deletion", "deletions") }

// objectNames names objects, on one line.
func objectNames(ids []object.ObjMetadata) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = render.Name(id)
	}
	return plain.Line(moves.List(names, 10, "none"))
}

func immutableText(o *Object) string {
	text := fmt.Sprintf("%s: %s cannot be changed", render.Name(o.ID), strings.Join(o.Immutable, ", "))
	if o.Replace {
		return text + ": it is deleted and created anew (holdfast.dev/replace)"
	}
	return text + ": the API server will refuse it; to have it deleted and created anew, set holdfast.dev/replace: enabled"
}
