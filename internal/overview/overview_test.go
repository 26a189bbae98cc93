package overview

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// row is the only cluster.
func row(t *testing.T, in Input) Row {
	t.Helper()
	o := New(in)
	if len(o.Rows) != 1 {
		t.Fatalf("%d rows", len(o.Rows))
	}
	return o.Rows[0]
}

func TestWhetherAClusterWasHeardOf(t *testing.T) {
	one := load(t, clusters("", "east"))
	refused := statusbus.Seen{Problem: "it is not signed"}
	both := seen("east")
	both.Problem = "it is not signed"
	cases := map[string]struct {
		in        Input
		want      Heard
		attention bool
	}{
		"a moment ago":                            {input(one, seen("east")), Fresh, false},
		"just not too long ago":                   {input(one, seen("east", aged(statusbus.FreshFor-time.Second))), Fresh, false},
		"three heartbeats ago":                    {input(one, seen("east", aged(statusbus.FreshFor))), Silent, true},
		"never":                                   {input(one), Never, true},
		"only with what is not believed":          {alter(input(one), func(in *Input) { in.Seen["east"] = refused }), Refused, true},
		"and since then with what is not":         {alter(input(one), func(in *Input) { in.Seen["east"] = both }), Refused, true},
		"nobody looked":                           {alter(input(one), func(in *Input) { in.Read = false }), Unread, true},
		"it is left for another look":             {alter(input(one), func(in *Input) { in.Seen["east"] = statusbus.Seen{} }), Unread, true},
		"the look failed, what was known is kept": {alter(input(one, seen("east")), func(in *Input) { in.Read = false }), Fresh, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := row(t, c.in)
			if r.Heard != c.want || r.Attention() != c.attention || r.Well() != (c.want == Fresh) {
				t.Errorf("heard %v, attention %v, well %v", r.Heard, r.Attention(), r.Well())
			}
		})
	}
}

func TestAge(t *testing.T) {
	one := load(t, clusters("", "east"))
	cases := map[string]struct {
		age            time.Duration // by the report
		moved, noticed time.Duration // ago; 0 is not
		want           time.Duration
	}{
		"by the report":                            {20 * time.Second, 0, 0, 20 * time.Second},
		"a clock that is ahead":                    {-4 * time.Minute, 0, 0, 0},
		"a clock that is behind, but it moved":     {10 * time.Minute, 4 * time.Second, 2 * time.Second, 4 * time.Second},
		"a clock that is ahead, but nothing moves": {-4 * time.Minute, 0, 7 * time.Minute, 7 * time.Minute},
		"seen as long as it is old":                {30 * time.Second, 40 * time.Second, 25 * time.Second, 30 * time.Second},
		"moved long ago":                           {8 * time.Minute, 9 * time.Minute, 8 * time.Minute, 8 * time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(one, seen("east", aged(c.age)))
			s := in.Seen["east"]
			if c.moved != 0 {
				s.MovedAfter = now.Add(-c.moved)
			}
			in.Seen["east"] = s
			if c.noticed != 0 {
				in.Noticed = map[string]time.Time{"east": now.Add(-c.noticed)}
			}
			if r := row(t, in); r.Age != c.want || (r.Heard == Silent) != (c.want >= statusbus.FreshFor) {
				t.Errorf("%s, %v; want %s", r.Age, r.Heard, c.want)
			}
		})
	}
}

func TestWhereACommitIs(t *testing.T) {
	one := load(t, clusters("", "east"))
	lag := func(s gitsource.Standing, n int) *gitsource.Lag { return &gitsource.Lag{Standing: s, Commits: n} }
	cases := map[string]struct {
		in              Input
		want            *gitsource.Lag
		cell            string
		attention, well bool
	}{
		"at head":                {input(one, seen("east")), lag(gitsource.Behind, 0), "at head", false, true},
		"behind":                 {input(one, seen("east", at(older))), lag(gitsource.Behind, 3), "3 behind", false, false},
		"not on the branch":      {input(one, seen("east", at(alien))), lag(gitsource.Apart, 0), "off branch", true, false},
		"newer than what we saw": {input(one, seen("east", at(newer))), lag(gitsource.Ahead, 0), "ahead", false, false},
		"not counted":            {alter(input(one, seen("east", at(older))), func(in *Input) { in.Lags[older] = gitsource.Lag{} }), lag(0, 0), "unknown", false, false},
		"being counted":          {alter(input(one, seen("east", at(older))), func(in *Input) { in.Lags = nil }), nil, "...", false, false},
		"no commit yet":          {input(one, seen("east", at(""))), lag(0, 0), "-", true, false},
		"no head":                {alter(input(one, seen("east")), func(in *Input) { in.Head = "" }), lag(0, 0), "unknown", false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := row(t, c.in)
			if d := gocmp.Diff(c.want, r.Lag); d != "" {
				t.Error(d)
			}
			if got := r.behind().text; got != c.cell {
				t.Errorf("%q, want %q", got, c.cell)
			}
			if r.Attention() != c.attention || r.Well() != c.well {
				t.Errorf("attention %v, well %v", r.Attention(), r.Well())
			}
		})
	}
}

func TestWhatGitSaysOfACluster(t *testing.T) {
	fresh, silent := seen("east"), seen("east", aged(time.Hour))
	cases := map[string]struct {
		archive   string // "": which clusters there are is not known
		seen      *statusbus.Seen
		state     string
		attention bool
	}{
		"nothing special":      {clusters("", "east"), &fresh, "", false},
		"drained by its file":  {clusters("", "east x state: Drained"), &fresh, "drained", false},
		"drained by fleet":     {clusters("drain: [{clusterSelector: {}}]", "east"), &fresh, "drained", false},
		"frozen":               {clusters("freeze: [{clusterSelector: {}}]", "east"), &fresh, "frozen", false},
		"drained and frozen":   {clusters("freeze: [{clusterSelector: {}}], drain: [{clusterSelector: {}}]", "east"), &fresh, "drained, frozen", false},
		"lost and silent":      {clusters("", "east x state: Lost"), &silent, "lost", false},
		"lost, never reported": {clusters("", "east x state: Lost"), nil, "lost", false},
		"lost, yet it reports": {clusters("", "east x state: Lost"), &fresh, "lost", true},
		"unknown to Git":       {clusters(""), &fresh, "NOT IN GIT", true},
		"a broken file":        {clusters("") + "-- clusters/east/cluster.yaml --\nkind: Cluster\n", &fresh, "BROKEN FILE", true},
		"Git cannot be read":   {"", &fresh, "", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(nil)
			if c.archive != "" {
				in.Fleet = load(t, c.archive)
			}
			if c.seen != nil {
				in.Seen["east"] = *c.seen
			}
			r := row(t, in)
			if got := r.state().text; got != c.state || r.Attention() != c.attention {
				t.Errorf("%q, attention %v", got, r.Attention())
			}
			if r.Well() != (name == "nothing special") {
				t.Errorf("well %v", r.Well())
			}
		})
	}
}

func TestCountsOfApps(t *testing.T) {
	one := load(t, clusters("", "east"))
	r := row(t, input(one, seen("east",
		with("ready", drifted(2, time.Hour)), with("not", unready, drifted(1, time.Minute)), with("elsewhere", elsewhere),
		with("leaving", elsewhere, func(a *status.App) { a.Objects = 1 }), with("waits", elsewhere, held(status.GateExclusive, time.Minute, "another has it")))))
	if r.Ready != 1 || r.Apps != 4 || r.Corrected != 3 || !r.Last.Equal(now.Add(-time.Minute)) || r.held() != 1 {
		t.Errorf("%d of %d Ready, %d corrected, last at %v, %d held", r.Ready, r.Apps, r.Corrected, r.Last, r.held())
	}
	if r.Well() {
		t.Error("it is well")
	}
	if got := r.drift().text; got != "3, 1m ago" {
		t.Errorf("drift %q", got)
	}
	silent := row(t, input(one, seen("east", aged(time.Hour), with("a"))))
	if got := silent.ready().text; got != "1/1?" {
		t.Errorf("what a silent cluster had is told as %q", got)
	}
}

// An app that fails or is held before it was ever adopted is one that should be here.
func TestAppsThatNeverStarted(t *testing.T) {
	one := load(t, clusters("", "east"))
	never := func(a *status.App) { *a = status.App{Name: a.Name} }
	cases := map[string]struct {
		app                       func(*status.App)
		apps                      string
		headline, section, silent string
	}{
		"elsewhere": {never, "-", "1 cluster: 1 at a1a1a1a", "", "Not Ready"},
		"failing":   {func(a *status.App) { never(a); failed("", "does not render")(a) }, "0/1", "1 cluster: 1 at a1a1a1a; 0 of 1 apps Ready, 1 failing", "Failing", "Not Ready"},
		"held":      {func(a *status.App) { never(a); held(status.GateExclusive, time.Minute, "another has it")(a) }, "0/1", "1 cluster: 1 at a1a1a1a; 0 of 1 apps Ready, 1 held", "Held", "Not Ready"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(one, seen("east", with("x", c.app)))
			if got := row(t, in); got.ready().text != c.apps || got.Well() != (c.section == "") {
				t.Errorf("apps %q, well %v", got.ready().text, got.Well())
			}
			if got := New(in).headline(); got != c.headline {
				t.Errorf("%q", got)
			}
			if got := text(t, New(in), Look{}); !strings.Contains(got, "\n"+c.section) || strings.Contains(got, "\n"+c.silent) {
				t.Errorf("\n%s", got)
			}
		})
	}
}

func TestRegion(t *testing.T) {
	labelled := func(labels map[string]string) Input {
		in := input(nil, seen("east", func(r *status.Report) { r.Labels = labels }))
		return in
	}
	for want, in := range map[string]Input{
		"git":      input(load(t, clusters("", "east git")), seen("east", func(r *status.Report) { r.Labels = map[string]string{"region": "old"} })),
		"reported": labelled(map[string]string{"region": "reported", "topology.kubernetes.io/region": "other"}),
		"topology": labelled(map[string]string{"topology.kubernetes.io/region": "topology"}),
		"":         labelled(nil),
	} {
		if got := row(t, in).Region; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The order is that of need first, and does not depend on the order of maps.
func TestOrder(t *testing.T) {
	in := busy(t)
	for range 20 {
		o := New(in)
		needs := 0
		for i := range o.Rows {
			if o.Rows[i].Attention() {
				needs++
			}
		}
		if needs == 0 || needs == len(o.Rows) {
			t.Fatalf("%d of %d need a person", needs, len(o.Rows))
		}
		for _, part := range [][]Row{o.Rows[:needs], o.Rows[needs:]} {
			if !slices.IsSortedFunc(part, func(a, b Row) int { return cmp.Compare(a.Cluster, b.Cluster) }) {
				t.Error("not sorted by name")
			}
		}
		if slices.ContainsFunc(o.Rows[needs:], func(r Row) bool { return r.Attention() }) {
			t.Error("one that needs a person is below")
		}
	}
}

func TestSelect(t *testing.T) {
	in := busy(t)
	in.Select = func(_ string, labels map[string]string) bool { return labels["region"] == "us-east" }
	o := New(in)
	if names := o.names(func(*Row) bool { return true }); !slices.Equal(names, []string{"us-east-1", "us-east-2"}) || o.All != 13 {
		t.Errorf("%v of %d", names, o.All)
	}
}

func TestHeadline(t *testing.T) {
	three := load(t, clusters("", "a", "b", "c"))
	apps := with("x")
	cases := map[string]struct {
		in   Input
		want string
	}{
		"all is well":            {input(three, seen("a", apps), seen("b", apps), seen("c", apps)), "3 clusters, all at a1a1a1a; 3 of 3 apps Ready"},
		"no apps":                {input(three, seen("a"), seen("b"), seen("c")), "3 clusters, all at a1a1a1a"},
		"one cluster":            {input(load(t, clusters("", "a")), seen("a", apps)), "1 cluster: 1 at a1a1a1a; 1 of 1 apps Ready"},
		"one silent":             {input(three, seen("a", apps), seen("b", apps), seen("c", apps, aged(12*time.Minute))), "3 clusters: 2 at a1a1a1a; 2 of 3 apps Ready, 1 unknown; c silent for 12m"},
		"none reports":           {input(three), "3 clusters: 0 at a1a1a1a; 3 never reported"},
		"no clusters":            {input(load(t, clusters(""))), "0 clusters, head is a1a1a1a"},
		"Git cannot be read":     {alter(input(nil, seen("a", apps), seen("b", apps)), func(in *Input) { in.Head = "" }), "2 clusters, the head of the branch is not known; 2 of 2 apps Ready"},
		"reports cannot be read": {alter(input(three), func(in *Input) { in.Read = false }), "3 clusters: 0 at a1a1a1a; 3 not read"},
		"commits of all sorts":   {input(three, seen("a", at(older)), seen("b", at(alien)), seen("c", at(newer))), "3 clusters: 0 at a1a1a1a, 1 behind, 1 ahead, 1 off the branch"},
		"some selected":          {alter(input(three, seen("a"), seen("b")), func(in *Input) { in.Select = func(c string, _ map[string]string) bool { return c != "c" } }), "2 of 3 clusters, all at a1a1a1a"},
		"many silent":            {input(load(t, clusters("", "a", "b", "c", "d")), seen("a", aged(time.Hour)), seen("b", aged(time.Hour)), seen("c", aged(time.Hour)), seen("d", aged(time.Hour))), "4 clusters: 0 at a1a1a1a; 4 silent"},
		"a lost one":             {input(load(t, clusters("", "a", "b x state: Lost")), seen("a", apps), seen("b", apps, aged(time.Hour))), "2 clusters: 1 at a1a1a1a; 1 of 1 apps Ready; 1 lost"},
		"one of everything": {busy(t), "13 clusters: 6 at a1a1a1a, 1 behind, 1 off the branch; 8 of 14 apps Ready, 2 unknown, 1 failing, 5 held; " +
			"eu-west-1 silent for 12m; 2 never reported; 1 refused; 1 not in Git; 1 with a broken file; 2 drained; 2 frozen; 1 lost"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := New(c.in).headline(); got != c.want {
				t.Errorf("\n%s, want\n%s", got, c.want)
			}
		})
	}
}

func TestSinceTellsChangesAlone(t *testing.T) {
	in := busy(t)
	before := New(in)
	later := alter(in, func(in *Input) { in.Now = in.Now.Add(time.Minute) })
	cases := map[string]struct {
		change func(*Input)
		some   bool // has changed
		rows   []string
		gone   []string
	}{
		"time goes by": {func(*Input) {}, false, nil, nil},
		"a heartbeat": {func(in *Input) {
			in.Seen["us-east-1"] = seen("us-east-1", aged(-50*time.Second), with("checkout", drifted(3, 2*time.Hour)), with("orders-db"), with("storefront"))
		}, false, nil, nil},
		"one falls silent":  {func(in *Input) { in.Now = in.Now.Add(210 * time.Second) }, true, []string{"us-east-2"}, nil},
		"an app is Ready":   {func(in *Input) { in.Seen["us-east-2"] = seen("us-east-2", with("checkout"), with("storefront")) }, true, []string{"us-east-2"}, nil},
		"one has vanished":  {func(in *Input) { delete(in.Seen, "lab-7") }, true, nil, []string{"lab-7"}},
		"a commit is known": {func(in *Input) { in.Lags[older] = gitsource.Lag{Standing: gitsource.Behind, Commits: 4} }, true, []string{"eu-west-1", "us-west-2"}, nil},
		"the branch moves":  {func(in *Input) { in.Head = newer }, true, []string{"ap-south-1", "eu-north-1", "eu-west-2", "us-east-1", "us-east-2", "us-west-1"}, nil},
		"one is cut off from Git": {func(in *Input) {
			in.Seen["eu-west-1"] = seen("eu-west-1", at(older), aged(12*time.Minute), func(r *status.Report) { early := now.Add(-time.Hour); r.Fetched = &early }, with("checkout"), with("storefront", in.storefront("eu-west-1")))
		}, true, []string{"eu-west-1"}, nil},
		"and is so no longer": {func(in *Input) {
			in.Seen["us-west-2"] = seen("us-west-2", at(older), with("storefront", in.storefront("us-west-2")))
		}, true, []string{"us-west-2"}, nil},
		"something is down": {func(in *Input) { in.Problems = []string{"the server is away"} }, true, nil, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := New(alter(later, c.change))
			change := o.Since(before)
			if (change != nil) != c.some {
				t.Fatalf("a change: %v", change != nil)
			}
			if change == nil {
				return
			}
			got := change.names(func(*Row) bool { return true })
			slices.Sort(got)
			if !slices.Equal(got, c.rows) || !slices.Equal(change.Gone, c.gone) {
				t.Errorf("%v, gone %v; want %v, gone %v", got, change.Gone, c.rows, c.gone)
			}
			if change.headline() == "" || o.Since(o) != nil {
				t.Error("it differs from itself")
			}
		})
	}
}
