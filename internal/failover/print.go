package failover

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

const (
	// mostClusters are named in one cell of a table; of more it says how many.
	mostClusters = 3
	// mostApps are named of those that move alike, rowApps on one line; of more it says how many more.
	mostApps = 24
	rowApps  = 4
)

// section is a part of the plan: apps that move by one rule.
type section struct {
	title string
	of    func(a *AppChange) bool
}

// sections are the rules by which apps move, in the order in which they are read. An app is in the first
// that it fits.
var sections = []section{
	{"Nowhere to go. These end on the clusters that they leave, and run nowhere:", func(a *AppChange) bool { return a.nowhere() }},
	{"In a cluster's own folder, so they go and come with it:", func(a *AppChange) bool { return a.Implicit }},
	{"Suspended. Nothing of these moves until their suspend ends:", func(a *AppChange) bool { return a.Spec.Suspend }},
	{"Start or rise, and leave nothing:", func(a *AppChange) bool {
		return !slices.ContainsFunc(a.moves(), func(m move) bool { return m.shrinks() })
	}},
	{"Exclusive. Stop first: each starts anew only when the cluster that it leaves reports it gone,\nor a person declares that cluster Lost:", func(a *AppChange) bool {
		return a.Spec.Failover.GateOrDefault() == fleet.Exclusive
	}},
	{"Forced. Leave at once, whether or not the others are Ready:", func(a *AppChange) bool { return a.Forced }},
	{"None. Leave at once, whether or not the others are Ready:", func(a *AppChange) bool {
		return a.Spec.Failover.GateOrDefault() == fleet.NoGate
	}},
	{"TakeoverHealthy. Leave or fall only when every other cluster that is to run the app is Ready, with its\nshare of the replicas, for as long as the soak:", func(*AppChange) bool { return true }},
}

// Print writes the plan for a person.
func (p *Plan) Print(w io.Writer) error {
	var b bytes.Buffer
	p.title(&b)
	p.clusters(&b)
	p.capacity(&b)
	p.apps(&b)
	p.short(&b)
	p.unknown(&b)
	if p.leaves() {
		b.WriteString("\nNamespaces, CustomResourceDefinitions, PersistentVolumeClaims and PersistentVolumes stay where apps leave,\n" +
			"unless a permit in fleet.yaml names their kind.\n")
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return nil
}

func (p *Plan) title(b *bytes.Buffer) {
	text := p.Change.String()
	fmt.Fprintf(b, "%s%s: %s\n", strings.ToUpper(text[:1]), text[1:], list(p.Selected(), 10, "no cluster"))
	if p.Change.Reason != "" {
		fmt.Fprintf(b, "Reason: %s\n", p.Change.Reason)
	}
}

// clusters writes what each cluster gets before and after, as far as it changes or was asked for.
func (p *Plan) clusters(b *bytes.Buffer) {
	rows := [][]string{{"CLUSTER", "WEIGHT", "APPS", "REPLICAS", ""}}
	same := 0
	for _, c := range p.Clusters {
		if !c.Selected && c.Before == c.After {
			same++
			continue
		}
		replicas := ""
		if c.Before.Replicas+c.After.Replicas > 0 {
			replicas = figures(c.Before.Replicas, c.After.Replicas)
		}
		rows = append(rows, []string{c.Name, strconv.Itoa(int(c.Weight())), figures(c.Before.Apps, c.After.Apps), replicas, c.standing()})
	}
	if len(rows) > 1 {
		b.WriteString("\n")
		table(b, "", rows)
	}
	if same > 0 {
		fmt.Fprintf(b, "%s as before.\n", count(same, "other cluster is", "other clusters are"))
	}
}

// standing says whether a cluster may run apps, where that is not as one would expect.
func (c *ClusterChange) standing() string {
	switch {
	case c.State() != fleet.Active:
		return "state: " + string(c.State())
	case c.Drained && c.Selected && !c.Before.Free:
		return "stays drained, by " + selectorText(&c.Drain.ClusterSelector)
	case c.Drained:
		return "drained"
	case !c.Before.Free:
		return "restored"
	}
	return ""
}

func (p *Plan) capacity(b *bytes.Buffer) {
	var all, before, after int64
	for _, c := range p.Clusters {
		weight := int64(c.Weight())
		all += weight
		if c.Before.Free {
			before += weight
		}
		if c.After.Free {
			after += weight
		}
	}
	if all == 0 {
		return
	}
	fmt.Fprintf(b, "\nCapacity by weight: %s of %d, %d%%.", figures(before, after), all, after*100/all)
	var least *AppChange
	for i := range p.Apps {
		a := &p.Apps[i]
		if a.Err == nil && !a.Implicit && a.RoomAfter > 0 && a.RoomAfter < a.RoomBefore &&
			(least == nil || a.RoomAfter*least.RoomBefore < least.RoomAfter*a.RoomBefore) {
			least = a
		}
	}
	if least != nil && least.RoomAfter*before < least.RoomBefore*after {
		fmt.Fprintf(b, " Least is left to %s: %d -> %d, %d%%.", least.Name, least.RoomBefore, least.RoomAfter, least.RoomAfter*100/least.RoomBefore)
	}
	b.WriteString("\n")
}

// apps writes the sections.
func (p *Plan) apps(b *bytes.Buffer) {
	parts := make([][]*AppChange, len(sections))
	moved := 0
	for i := range p.Apps {
		a := &p.Apps[i]
		if a.Err != nil {
			continue
		}
		moved++
		k := slices.IndexFunc(sections, func(s section) bool { return s.of(a) })
		parts[k] = append(parts[k], a)
	}
	switch {
	case moved == 0:
		b.WriteString("\nNo app is placed differently.\n")
		if p.Change.Force && !p.Change.Restore {
			b.WriteString("What still waits on these clusters for others to take over leaves at once.\n")
		}
		return
	case p.Same > 0:
		fmt.Fprintf(b, "\n%s differently, %s.\n", count(moved, "app is placed", "apps are placed"), count(p.Same, "stays as it is", "stay as they are"))
	default:
		fmt.Fprintf(b, "\n%s differently.\n", count(moved, "app is placed", "apps are placed"))
	}
	for k, part := range parts {
		if len(part) > 0 {
			fmt.Fprintf(b, "\n%s\n", sections[k].title)
			table(b, "  ", grouped(part))
		}
	}
}

// grouped makes one row of all apps that move alike, replicas included.
func grouped(apps []*AppChange) [][]string {
	var names [][]string
	var cells [][]string
	row := map[string]int{}
	for _, a := range apps {
		c := a.cells()
		key := strings.Join(c, "\x00")
		i, ok := row[key]
		if !ok {
			i = len(cells)
			row[key] = i
			names, cells = append(names, nil), append(cells, c)
		}
		names[i] = append(names[i], a.Name)
	}
	rows := [][]string{{"APP", "LEAVES OR FALLS", "STARTS OR RISES", "STAYS", "SOAK"}}
	for i := range cells {
		shown := names[i][:min(len(names[i]), mostApps)]
		for part := range slices.Chunk(shown, rowApps) {
			rows = append(rows, append([]string{strings.Join(part, ", ")}, cells[i]...))
			cells[i] = make([]string, len(cells[i])) // those of the first line are those of all
		}
		if more := len(names[i]) - len(shown); more > 0 {
			rows = append(rows, append([]string{fmt.Sprintf("and %d more", more)}, cells[i]...))
		}
	}
	return rows
}

// cells are an app's row without its name.
func (a *AppChange) cells() []string {
	var down, up []move
	for _, m := range a.moves() {
		if m.shrinks() {
			down = append(down, m)
		} else {
			up = append(up, m)
		}
	}
	soak := ""
	if !a.Implicit && a.Spec.Failover.GateOrDefault() == fleet.TakeoverHealthy && len(down) > 0 && !a.Forced {
		soak = a.Spec.Failover.SoakOrDefault().String()
	}
	stays := a.stays()
	text := strings.Join(stays, ", ")
	if len(stays) > mostClusters {
		text = fmt.Sprintf("%d clusters", len(stays))
	}
	return []string{movesText(down), movesText(up), text, soak}
}

// movesText names the clusters with their replicas, or sums them up.
func movesText(moves []move) string {
	if len(moves) > mostClusters {
		text := fmt.Sprintf("%d clusters", len(moves))
		if moves[0].divided {
			var before, after int64
			for _, m := range moves {
				before, after = before+int64(m.before), after+int64(m.after)
			}
			text += " " + figures(before, after)
		}
		return text
	}
	texts := make([]string, len(moves))
	for i, m := range moves {
		texts[i] = m.cluster
		if m.divided {
			texts[i] += " " + figures(m.before, m.after)
		}
	}
	return strings.Join(texts, ", ")
}

// short writes which apps get fewer clusters than they ask for, and did not before.
func (p *Plan) short(b *bytes.Buffer) {
	rows := [][]string{{"APP", "CLUSTERS"}}
	for i := range p.Apps {
		a := &p.Apps[i]
		if a.Err == nil && a.After.Short != "" && a.Before.Short == "" && len(a.After.Clusters) > 0 {
			rows = append(rows, []string{a.Name, fmt.Sprintf("%d of %d", len(a.After.Clusters), *a.Spec.Placement.Clusters)})
		}
	}
	if len(rows) > 1 {
		b.WriteString("\nOn fewer clusters than they ask for:\n")
		table(b, "  ", rows)
	}
}

func (p *Plan) unknown(b *bytes.Buffer) {
	unknown := p.Unknown()
	if len(unknown) == 0 {
		return
	}
	b.WriteString("\nNot known, and not in the figures above:\n")
	for _, a := range unknown {
		fmt.Fprintf(b, "  %v\n", a.Err)
	}
}

// leaves tells whether any app leaves a cluster.
func (p *Plan) leaves() bool {
	return slices.ContainsFunc(p.Apps, func(a AppChange) bool {
		return slices.ContainsFunc(a.moves(), func(m move) bool { return !m.is })
	})
}

// figures are one number, or two if it changes.
func figures[N int | int32 | int64](before, after N) string {
	if before == after {
		return strconv.FormatInt(int64(before), 10)
	}
	return fmt.Sprintf("%d -> %d", before, after)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list names at most so many, and says how many more there are.
func list(names []string, most int, none string) string {
	if len(names) <= most {
		return cmp.Or(strings.Join(names, ", "), none)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// table writes rows in columns; the first row is the head. A column without any content is left out.
func table(b *bytes.Buffer, indent string, rows [][]string) {
	var text strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if slices.ContainsFunc(rows[1:], func(r []string) bool { return r[i] != "" }) {
				text.WriteString(cell + "\t")
			}
		}
		text.WriteString("\n")
	}
	var lines bytes.Buffer // a write to memory does not fail
	tw := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(tw, text.String())
	_ = tw.Flush()
	for line := range strings.Lines(lines.String()) {
		b.WriteString(indent + strings.TrimRight(line, " \n") + "\n")
	}
}
