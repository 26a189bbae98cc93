package moves

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

const (
	// mostClusters are named in one cell of a table; of more it says how many.
	mostClusters = 3
	// mostApps are named of those that move alike, rowApps on one line; of more it says how many more.
	mostApps = 24
	rowApps  = 4
)

// Section is the apps that move by one rule.
type Section struct {
	// Title is the rule.
	Title string
	// Rows are a table; the first row is its head.
	Rows [][]string
}

// rules are those by which apps move, in the order in which they are read. An app is in the first that it fits.
var rules = []struct {
	title string
	of    func(a *App) bool
}{
	{"Nowhere to go. These keep running where they are, until they have somewhere to go or the drain says force:", (*App).KeepsRunning},
	{"Nowhere to go. These end on the clusters that they leave, and run nowhere:", (*App).Nowhere},
	{"In a cluster's own folder, so they go and come with it:", func(a *App) bool { return a.Implicit }},
	{"Suspended. Nothing of these moves until their suspend ends:", func(a *App) bool { return a.Spec.Suspend }},
	{"Start or rise, and leave nothing:", func(a *App) bool { return !slices.ContainsFunc(a.Moves(), Move.Shrinks) }},
	{"Exclusive. Stop first: each starts anew only when the cluster that it leaves reports it gone,\nor a person declares that cluster Lost:", func(a *App) bool {
		return a.Gate() == fleet.Exclusive
	}},
	{"Forced. Leave at once, whether or not the others are Ready:", func(a *App) bool { return a.Forced }},
	{"None. Leave without waiting for the others, after what depends on them where they leave:", func(a *App) bool {
		return a.Gate() == fleet.NoGate
	}},
	{"TakeoverHealthy. Leave or fall only when every other cluster that is to run the app is Ready, with its\nshare of the replicas, for as long as the soak:", func(*App) bool { return true }},
}

// Sections groups the apps whose placement is known, and differs, by the rules by which they move, and makes one
// row of all that move alike, replicas included.
func Sections(apps []App) (sections []Section) {
	parts := make([][]*App, len(rules))
	for i := range apps {
		a := &apps[i]
		if a.Err != nil || len(a.Moves()) == 0 {
			continue
		}
		for k := range rules {
			if rules[k].of(a) {
				parts[k] = append(parts[k], a)
				break
			}
		}
	}
	for k, part := range parts {
		if len(part) > 0 {
			sections = append(sections, Section{Title: rules[k].title, Rows: rows(part)})
		}
	}
	return sections
}

func rows(apps []*App) [][]string {
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
func (a *App) cells() []string {
	var down, up []Move
	for _, m := range a.Moves() {
		if m.Shrinks() {
			down = append(down, m)
		} else {
			up = append(up, m)
		}
	}
	soak := ""
	if a.Gate() == fleet.TakeoverHealthy && len(down) > 0 && !a.Forced {
		soak = a.Spec.Failover.SoakOrDefault().String()
	}
	stays := a.Stays()
	text := strings.Join(stays, ", ")
	if len(stays) > mostClusters {
		text = fmt.Sprintf("%d clusters", len(stays))
	}
	return []string{inWords(down), inWords(up), text, soak}
}

// inWords names the clusters with their replicas, or sums them up.
func inWords(moves []Move) string {
	if len(moves) > mostClusters {
		text := fmt.Sprintf("%d clusters", len(moves))
		var before, after int64
		for _, m := range moves {
			if m.Before == nil || m.After == nil {
				return text
			}
			before, after = before+int64(*m.Before), after+int64(*m.After)
		}
		return text + " " + Figures(before, after)
	}
	texts := make([]string, len(moves))
	for i, m := range moves {
		texts[i] = m.Cluster
		if m.Before != nil || m.After != nil {
			texts[i] += " " + figure(m.Before) + " -> " + figure(m.After)
		}
	}
	return strings.Join(texts, ", ")
}

// figure is a share, if there is one.
func figure(n *int32) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprint(*n)
}
