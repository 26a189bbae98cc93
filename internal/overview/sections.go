package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/status"
)

const (
	mostEntries = 10 // of a section
	mostNames   = 5  // in a list
)

// entry is one thing to say below the table, and what more there is to say of it.
type entry struct{ text, more string }

// sections writes what the table has no room for, as far as there is any.
func (p *printer) sections(o *Overview) {
	p.section(red, "Refused", "", o.entries(func(r *Row) (entry, bool) {
		return entry{r.Cluster, r.Problem}, r.Heard == Refused
	}))
	p.section(red, "Silent", "The agent is down, or cannot push to the status repository. What it reported may be true no longer.",
		o.entries(func(r *Row) (entry, bool) {
			return entry{text: r.lastWords()}, r.Heard == Silent && r.State != fleet.Lost
		}))
	p.names(red, "Never reported", o.neverAdvice(), func(r *Row) bool { return r.Heard == Never && r.State != fleet.Lost }, o)
	p.names(red, "Not in Git", "An agent with a wrong --cluster, or one that outlived its cluster's folder: it heals what is there and prunes nothing. "+
		"Where there is no agent any more, delete the ref refs/holdfast/status/<cluster>.",
		func(r *Row) bool { return r.Declared == DeclaredNot }, o)
	p.names(red, "Lost in Git, yet it reports", "Others take over as if it were dead. If it is not, say so in its cluster.yaml: state: Drained, or Active.",
		func(r *Row) bool { return r.State == fleet.Lost && r.Attention() }, o)
	p.section(none, "Gone from Git and from the status repository", "", listed(o.Gone))
	p.section(red, "Failing", "", o.failing())
	p.section(yellow, "Not Ready", "", o.notReady())
	p.section(yellow, "Held", "", o.held())
	p.section(yellow, "Cut off from Git", "", o.entries(func(r *Row) (entry, bool) {
		return entry{text: fmt.Sprintf("%s: the fleet repository had not answered it for %s when it reported", r.Cluster, ago(r.cutOff()))}, r.cutOff() > 0
	}))
	p.section(yellow, "Set in Git", "", o.declared())
	p.section(red, "Files that cannot be used", "", o.files())
}

// section writes the first entries, how many more there are, and what to do.
func (p *printer) section(i ink, title, advice string, entries []entry) {
	if len(entries) == 0 {
		return
	}
	p.WriteString("\n")
	p.line(i, title)
	for _, e := range entries[:min(len(entries), mostEntries)] {
		p.text(none, "  ", e.text)
		p.text(none, "    ", e.more)
	}
	if more := len(entries) - mostEntries; more > 0 {
		p.line(none, fmt.Sprintf("  and %d more", more))
	}
	p.text(dim, "  ", advice)
}

// names writes a section of clusters' names alone, and what to do.
func (p *printer) names(i ink, title, advice string, are func(*Row) bool, o *Overview) {
	p.section(i, title, advice, listed(o.names(are)))
}

// listed is one entry of some names.
func listed(names []string) []entry {
	if len(names) == 0 {
		return nil
	}
	const most = 20
	return []entry{{text: moves.List(names, most, "")}}
}

// entries makes an entry of each row that has something to say.
func (o *Overview) entries(say func(*Row) (entry, bool)) (entries []entry) {
	for i := range o.Rows {
		if e, ok := say(&o.Rows[i]); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

func (o *Overview) names(are func(*Row) bool) (names []string) {
	for i := range o.Rows {
		if r := &o.Rows[i]; are(r) {
			names = append(names, r.Cluster)
		}
	}
	return names
}

// lastWords tells of the last report.
func (r *Row) lastWords() string {
	if r.Report == nil {
		return ""
	}
	return fmt.Sprintf("%s: for %s, the last report is dated %s", r.Cluster, ago(r.Age), r.Report.Time.UTC().Format(time.RFC3339))
}

func (o *Overview) neverAdvice() string {
	if o.Mute {
		return "The status repository holds no report at all: is it the one that the agents push to (--status-repo)?"
	}
	return "No agent runs there, or it cannot push to the status repository: its log tells."
}

// fact is something that a cluster says of an app. Facts that are alike but for the app and the cluster are told once.
type fact struct {
	what, more   string
	app, cluster string
	since        time.Time // the earliest counts
}

// told is a fact with all apps that share it on the same clusters.
type told struct {
	fact

	apps, clusters []string
}

// facts collects what rows say of their apps. What is uncertain counts too: it is the last that is known.
func (o *Overview) facts(of func(*status.App, func(fact))) []told {
	var all []fact
	for i := range o.Rows {
		r := &o.Rows[i]
		if r.Report == nil || r.State == fleet.Lost && r.Heard != Fresh {
			continue
		}
		for n := range r.Report.Apps {
			a := &r.Report.Apps[n]
			of(a, func(f fact) {
				f.app, f.cluster = a.Name, r.Cluster
				all = append(all, f)
			})
		}
	}
	return gather(all)
}

// gather tells facts once: first those of one app together, over clusters, and then apps that are alike on the
// same clusters. What concerns the most comes first.
func gather(facts []fact) []told {
	type byApp struct{ what, more, app string }
	apps, order := map[byApp]*told{}, []*told(nil)
	for _, f := range facts {
		key := byApp{f.what, f.more, f.app}
		t := apps[key]
		if t == nil {
			t = &told{fact: f, apps: []string{f.app}}
			apps[key] = t
			order = append(order, t)
		}
		t.clusters = append(t.clusters, f.cluster)
		if f.since.Before(t.since) {
			t.since = f.since
		}
	}
	type byClusters struct{ what, more, clusters string }
	merged := map[byClusters]*told{}
	var out []told
	for _, t := range order {
		slices.Sort(t.clusters)
		t.clusters = slices.Compact(t.clusters)
		key := byClusters{t.what, t.more, strings.Join(t.clusters, "\x00")}
		if same := merged[key]; same != nil {
			same.apps = append(same.apps, t.app)
			if t.since.Before(same.since) {
				same.since = t.since
			}
			continue
		}
		merged[key] = t
	}
	for _, t := range order {
		if merged[byClusters{t.what, t.more, strings.Join(t.clusters, "\x00")}] == t {
			slices.Sort(t.apps)
			out = append(out, *t)
		}
	}
	slices.SortStableFunc(out, func(a, b told) int {
		return cmp.Or(
			-cmp.Compare(len(a.apps)*len(a.clusters), len(b.apps)*len(b.clusters)),
			slices.Compare(a.apps, b.apps), strings.Compare(a.what, b.what), slices.Compare(a.clusters, b.clusters),
		)
	})
	return out
}

// where names the apps and the clusters of a fact.
func (t *told) where() string {
	return moves.List(t.apps, mostNames, "") + " in " + moves.List(t.clusters, mostNames, "")
}

func (o *Overview) failing() (entries []entry) {
	for _, t := range o.facts(func(a *status.App, say func(fact)) {
		for _, e := range a.Errors {
			say(fact{what: e.Object, more: e.Message})
		}
	}) {
		text := t.where()
		if t.what != "" {
			text += ": " + t.what
		}
		entries = append(entries, entry{text, t.more})
	}
	return entries
}

// notReady lists apps that are not Ready and do not say why. What is said of one that a gate keeps from starting is
// why.
func (o *Overview) notReady() (entries []entry) {
	for _, t := range o.facts(func(a *status.App, say func(fact)) {
		if a.Here() && !a.Ready && len(a.Errors) == 0 && !kept(a) {
			say(fact{})
		}
	}) {
		entries = append(entries, entry{text: t.where()})
	}
	return entries
}

func (o *Overview) held() (entries []entry) {
	for _, t := range o.facts(func(a *status.App, say func(fact)) {
		for _, h := range a.Held {
			say(fact{what: string(h.Gate), more: h.Reason, since: h.Since})
		}
	}) {
		text := t.what + ": " + t.where()
		if !t.since.IsZero() {
			text += ", for " + ago(o.Now.Sub(t.since))
		}
		entries = append(entries, entry{text, t.more})
	}
	return entries
}

// declared says why clusters are drained or frozen.
func (o *Overview) declared() (entries []entry) {
	var lines []string
	clusters := map[string][]string{}
	add := func(line, reason, cluster string) {
		if reason != "" {
			line += ", " + reason
		}
		if clusters[line] == nil {
			lines = append(lines, line)
		}
		clusters[line] = append(clusters[line], cluster)
	}
	for i := range o.Rows {
		r := &o.Rows[i]
		switch {
		case r.State == fleet.Lost || r.State == fleet.Drained:
			add("state: "+string(r.State), "", r.Cluster)
		case r.Drain != nil && r.Drain.Force:
			add("drained by force", r.Drain.Reason, r.Cluster)
		case r.Drain != nil:
			add("drained", r.Drain.Reason, r.Cluster)
		}
		if r.Freeze != nil {
			add("frozen", r.Freeze.Reason, r.Cluster)
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		slices.Sort(clusters[line])
		entries = append(entries, entry{text: moves.List(clusters[line], mostNames, "") + ": " + line})
	}
	return entries
}

func (o *Overview) files() (entries []entry) {
	for _, p := range o.Files {
		entries = append(entries, entry{text: p.String()})
	}
	return entries
}
