package failover

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
)

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
	fmt.Fprintf(b, "%s%s: %s\n", strings.ToUpper(text[:1]), text[1:], moves.List(p.Selected(), 10, "no cluster"))
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
			replicas = moves.Figures(c.Before.Replicas, c.After.Replicas)
		}
		rows = append(rows, []string{c.Name, strconv.Itoa(int(c.Weight())), moves.Figures(c.Before.Apps, c.After.Apps), replicas, c.standing()})
	}
	if len(rows) > 1 {
		b.WriteString("\n")
		moves.Table(b, "", rows)
	}
	if same > 0 {
		fmt.Fprintf(b, "%s as before.\n", moves.Count(same, "other cluster is", "other clusters are"))
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
	fmt.Fprintf(b, "\nCapacity by weight: %s of %d, %d%%.", moves.Figures(before, after), all, after*100/all)
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
	var known []moves.App
	for i := range p.Apps {
		if p.Apps[i].Err == nil {
			known = append(known, p.Apps[i].App)
		}
	}
	switch moved := len(known); {
	case moved == 0:
		b.WriteString("\nNo app is placed differently.\n")
		if p.Change.Force && !p.Change.Restore {
			b.WriteString("What still waits on these clusters for others to take over leaves at once.\n")
		}
		return
	case p.Same > 0:
		fmt.Fprintf(b, "\n%s differently, %s.\n", moves.Count(moved, "app is placed", "apps are placed"), moves.Count(p.Same, "stays as it is", "stay as they are"))
	default:
		fmt.Fprintf(b, "\n%s differently.\n", moves.Count(moved, "app is placed", "apps are placed"))
	}
	for _, section := range moves.Sections(known) {
		fmt.Fprintf(b, "\n%s\n", section.Title)
		moves.Table(b, "  ", section.Rows)
	}
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
		moves.Table(b, "  ", rows)
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
		return slices.ContainsFunc(a.Moves(), func(m moves.Move) bool { return !m.Is })
	})
}
