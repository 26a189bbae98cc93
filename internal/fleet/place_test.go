package fleet

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// where is a selector of one label.
func where(key, value string) Selector {
	return Selector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
}

// cluster makes a cluster from "name key=value key=value".
func cluster(text string) *Cluster {
	words := strings.Fields(text)
	c := &Cluster{Metadata: Metadata{Name: words[0], Labels: map[string]string{}}}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		c.Labels[key] = value
	}
	return c
}

func clusterSet(texts ...string) []*Cluster {
	var out []*Cluster
	for _, text := range texts {
		out = append(out, cluster(text))
	}
	return out
}

func with(c *Cluster, change func(c *Cluster)) *Cluster {
	change(c)
	return c
}

func weighing(weight int32, text string) *Cluster {
	return with(cluster(text), func(c *Cluster) { c.Spec.Weight = &weight })
}

func in(state State, text string) *Cluster {
	return with(cluster(text), func(c *Cluster) { c.Spec.State = state })
}

func TestPlace(t *testing.T) {
	two, three := 2, 3
	three31 := []*Cluster{weighing(3, "us-east-1 region=us-east"), weighing(2, "us-west-2 region=us-west"), weighing(1, "eu-west-1 region=eu-west")}
	drainEast := Settings{Spec: SettingsSpec{Drain: []Drain{{ClusterSelector: where("region", "us-east")}}}}
	tests := []struct {
		name  string
		fleet Fleet
		spec  AppSpec
		want  Placed
	}{
		{
			name:  "every active cluster by default",
			fleet: Fleet{Clusters: []*Cluster{cluster("a"), in(Active, "b"), in(Drained, "c"), in(Lost, "d")}},
			want:  Placed{Clusters: []string{"a", "b"}},
		},
		{
			name:  "those that match",
			fleet: Fleet{Clusters: clusterSet("a env=prod", "b env=dev", "c")},
			spec:  AppSpec{Placement: Placement{ClusterSelector: where("env", "prod")}},
			want:  Placed{Clusters: []string{"a"}},
		},
		{
			name:  "none that match",
			fleet: Fleet{Clusters: clusterSet("a env=dev")},
			spec:  AppSpec{Placement: Placement{ClusterSelector: where("env", "prod")}},
			want:  Placed{Short: "no cluster is free; 0 clusters match"},
		},
		{
			name:  "all that match are drained",
			fleet: Fleet{Settings: drainEast, Clusters: []*Cluster{cluster("a region=us-east"), in(Lost, "b region=us-east")}},
			want:  Placed{Short: "no cluster is free; 2 clusters match: a is drained by fleet.yaml, b is Lost"},
		},
		{
			name:  "replicas by weight",
			fleet: Fleet{Clusters: three31},
			spec:  AppSpec{Replicas: &Replicas{Total: 12}},
			want: Placed{Clusters: []string{"eu-west-1", "us-east-1", "us-west-2"},
				Replicas: map[string]int32{"us-east-1": 6, "us-west-2": 4, "eu-west-1": 2}},
		},
		{
			name:  "one line drains a region and its replicas rise elsewhere",
			fleet: Fleet{Settings: drainEast, Clusters: three31},
			spec:  AppSpec{Replicas: &Replicas{Total: 12}},
			want:  Placed{Clusters: []string{"eu-west-1", "us-west-2"}, Replicas: map[string]int32{"us-west-2": 8, "eu-west-1": 4}},
		},
		{
			name:  "the largest remainder gets the odd replica",
			fleet: Fleet{Clusters: three31},
			spec:  AppSpec{Replicas: &Replicas{Total: 10}}, // quotas 5, 3 1/3, 1 2/3
			want: Placed{Clusters: []string{"eu-west-1", "us-east-1", "us-west-2"},
				Replicas: map[string]int32{"us-east-1": 5, "us-west-2": 3, "eu-west-1": 2}},
		},
		{
			name:  "nothing to divide",
			fleet: Fleet{Clusters: clusterSet("a", "b")},
			spec:  AppSpec{Replicas: &Replicas{Total: 0}},
			want:  Placed{Clusters: []string{"a", "b"}, Replicas: map[string]int32{"a": 0, "b": 0}},
		},
		{
			name:  "no cluster to divide over",
			fleet: Fleet{},
			spec:  AppSpec{Replicas: &Replicas{Total: 5}},
			want:  Placed{Replicas: map[string]int32{}, Short: "no cluster is free; 0 clusters match"},
		},
		{
			name:  "preferred clusters first",
			fleet: Fleet{Clusters: clusterSet("e1 region=east", "e2 region=east", "w1 region=west", "w2 region=west")},
			spec:  AppSpec{Placement: Placement{Clusters: &two, Prefer: []Selector{where("region", "east")}}},
			want:  Placed{Clusters: []string{"e1", "e2"}},
		},
		{
			name:  "standby takes over when the preferred one is drained",
			fleet: Fleet{Clusters: []*Cluster{in(Drained, "e1 region=east"), cluster("e2 region=east"), cluster("w1 region=west")}},
			spec:  AppSpec{Placement: Placement{Clusters: &two, Prefer: []Selector{where("region", "east")}}},
			want:  Placed{Clusters: []string{"e2", "w1"}},
		},
		{
			name:  "spread comes before preference",
			fleet: Fleet{Clusters: clusterSet("e1 region=east", "e2 region=east", "w1 region=west zone=1")},
			spec:  AppSpec{Placement: Placement{Clusters: &two, SpreadBy: "region", Prefer: []Selector{where("zone", "1")}}},
			want:  Placed{Clusters: []string{"e2", "w1"}},
		},
		{
			name:  "clusters without the label are one group",
			fleet: Fleet{Clusters: clusterSet("a", "b", "c", "e1 region=east", "w1 region=west")},
			spec:  AppSpec{Placement: Placement{Clusters: &three, SpreadBy: "region", Prefer: []Selector{{}}}},
			want:  Placed{Clusters: []string{"b", "e1", "w1"}},
		},
		{
			name:  "a second one in a region when no other is free",
			fleet: Fleet{Clusters: clusterSet("e1 region=east", "e2 region=east", "w1 region=west")},
			spec:  AppSpec{Placement: Placement{Clusters: &three, SpreadBy: "region"}},
			want:  Placed{Clusters: []string{"e1", "e2", "w1"}},
		},
		{
			name:  "fewer left than asked for",
			fleet: Fleet{Settings: drainEast, Clusters: clusterSet("a region=us-east", "b")},
			spec:  AppSpec{Placement: Placement{Clusters: &two}, Replicas: &Replicas{Total: 3}},
			want: Placed{Clusters: []string{"b"}, Replicas: map[string]int32{"b": 3},
				Short: "1 of the 2 clusters asked for are free; 2 clusters match: a is drained by fleet.yaml"},
		},
		{
			name: "a broken cluster file is not judged where nothing depends on it",
			fleet: Fleet{Clusters: clusterSet("a"),
				Problems: []Problem{{Path: "clusters/b/cluster.yaml", Kind: KindCluster, Name: "b"}}},
			want: Placed{Clusters: []string{"a"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			app := &App{Metadata: Metadata{Name: "web"}, Spec: test.spec}
			slices.SortFunc(test.fleet.Clusters, func(a, b *Cluster) int { return strings.Compare(a.Name, b.Name) })
			got, err := test.fleet.Place(app)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlaceImplicit(t *testing.T) {
	app := &App{Metadata: Metadata{Name: "cluster-a"}, Dir: "clusters/a", Implicit: true}
	tests := []struct {
		name  string
		fleet Fleet
		want  []string
		fails bool
	}{
		{"on its cluster only", Fleet{Clusters: clusterSet("a", "b")}, []string{"a"}, false},
		{"another cluster's file is broken", Fleet{Clusters: clusterSet("a"), Problems: []Problem{{Kind: KindCluster, Name: "b"}}}, []string{"a"}, false},
		{"its cluster's file is broken", Fleet{Clusters: clusterSet("b"), Problems: []Problem{{Kind: KindCluster, Name: "a"}}}, nil, true},
		{"its cluster is drained", Fleet{Clusters: []*Cluster{in(Drained, "a"), cluster("b")}}, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.fleet.Place(app)
			if (err != nil) != test.fails {
				t.Fatalf("error: %v", err)
			}
			if diff := cmp.Diff(test.want, got.Clusters); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlaceUnknown(t *testing.T) {
	two := 2
	f := &Fleet{Clusters: clusterSet("a"), Problems: []Problem{{Path: "clusters/b/cluster.yaml", Line: 3, Message: "spec: broken", Kind: KindCluster, Name: "b"}}}
	const want = `app "web": its placement is unknown while a cluster's file cannot be used: clusters/b/cluster.yaml:3: spec: broken`
	for name, spec := range map[string]AppSpec{
		"clusters": {Placement: Placement{Clusters: &two}},
		"replicas": {Replicas: &Replicas{Total: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &App{Metadata: Metadata{Name: "web"}, Spec: spec}
			if _, err := f.Place(a); err == nil || err.Error() != want {
				t.Errorf("got %v", err)
			}
		})
	}
}

// drawFleet draws a fleet of up to 12 clusters, some of them drained in one way or another.
func drawFleet(t *rapid.T) *Fleet {
	f := &Fleet{}
	for i := range rapid.IntRange(0, 12).Draw(t, "clusters") {
		f.Clusters = append(f.Clusters, drawCluster(t, fmt.Sprintf("c%02d", i)))
	}
	for _, region := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"r0", "r1", "r2"}), 0, 1, rapid.ID).Draw(t, "drained") {
		f.Settings.Spec.Drain = append(f.Settings.Spec.Drain, Drain{ClusterSelector: where("region", region)})
	}
	return f
}

func drawCluster(t *rapid.T, name string) *Cluster {
	c := weighing(rapid.Int32Range(1, 5).Draw(t, "weight"), name)
	if region := rapid.SampledFrom([]string{"", "r0", "r1", "r2"}).Draw(t, "region"); region != "" {
		c.Labels["region"] = region
	}
	c.Labels["tier"] = rapid.SampledFrom([]string{"gold", "silver", "tin"}).Draw(t, "tier")
	c.Spec.State = rapid.SampledFrom([]State{"", Active, Active, Drained, Lost}).Draw(t, "state")
	return c
}

func drawApp(t *rapid.T) *App {
	a := &App{Metadata: Metadata{Name: rapid.StringMatching("[a-z]{1,8}").Draw(t, "app")}}
	if rapid.Bool().Draw(t, "counted") {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		a.Spec.Placement.Clusters = &n
	}
	if rapid.Bool().Draw(t, "spread") {
		a.Spec.Placement.SpreadBy = "region"
	}
	if rapid.Bool().Draw(t, "preferring") {
		a.Spec.Placement.Prefer = []Selector{where("tier", "gold"), where("tier", "silver")}
	}
	if rapid.Bool().Draw(t, "divided") {
		a.Spec.Replicas = &Replicas{Total: rapid.Int32Range(0, 100).Draw(t, "total")}
	}
	return a
}

func place(t *rapid.T, f *Fleet, a *App) Placed {
	placed, err := f.Place(a)
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

func isFree(f *Fleet, c *Cluster) bool {
	_, drained := f.Drained(c)
	return c.State() == Active && !drained
}

func TestPlaceProperties(t *testing.T) {
	t.Run("every agent has the same answer", rapid.MakeCheck(func(t *rapid.T) {
		f, a := drawFleet(t), drawApp(t)
		want := place(t, f, a)
		shuffled := &Fleet{Settings: f.Settings, Clusters: rapid.Permutation(f.Clusters).Draw(t, "order")}
		if diff := cmp.Diff(want, place(t, shuffled, a)); diff != "" {
			t.Fatalf("the order of the clusters matters:\n%s", diff)
		}
	}))
	t.Run("as many as asked for, and only free ones", rapid.MakeCheck(func(t *rapid.T) {
		f, a := drawFleet(t), drawApp(t)
		placed := place(t, f, a)
		free := 0
		for _, c := range f.Clusters {
			if isFree(f, c) {
				free++
			} else if slices.Contains(placed.Clusters, c.Name) {
				t.Fatalf("%s is %s or drained and was chosen", c.Name, c.State())
			}
		}
		want, short := free, free == 0
		if n := a.Spec.Placement.Clusters; n != nil {
			want, short = min(*n, free), free < *n
		}
		if len(placed.Clusters) != want || (placed.Short != "") != short {
			t.Fatalf("%d of %d free: %+v", want, free, placed)
		}
	}))
	t.Run("shares sum to the total and are within one of the quota", rapid.MakeCheck(func(t *rapid.T) {
		f, a := drawFleet(t), drawApp(t)
		total := rapid.Int32Range(0, math.MaxInt32).Draw(t, "any total")
		a.Spec.Replicas = &Replicas{Total: total}
		placed := place(t, f, a)
		if len(placed.Clusters) == 0 {
			return
		}
		checkShares(t, f, total, placed)
	}))
	t.Run("spread", rapid.MakeCheck(func(t *rapid.T) {
		f, a := drawFleet(t), drawApp(t)
		n := rapid.IntRange(1, 8).Draw(t, "n")
		a.Spec.Placement.Clusters, a.Spec.Placement.SpreadBy = &n, "region"
		placed := place(t, f, a)
		chosen, left := map[string]int{}, map[string]int{}
		for _, c := range f.Clusters {
			if slices.Contains(placed.Clusters, c.Name) {
				chosen[c.Labels["region"]]++
			} else if isFree(f, c) {
				left[c.Labels["region"]]++
			}
		}
		for region, have := range chosen {
			for other := range left {
				if have > chosen[other]+1 {
					t.Fatalf("%d in %q, %d in %q, which has a free one", have, region, chosen[other], other)
				}
			}
		}
	}))
	t.Run("a less preferred cluster only when no better one is free", rapid.MakeCheck(func(t *rapid.T) {
		f, a := drawFleet(t), drawApp(t)
		n := rapid.IntRange(1, 8).Draw(t, "n")
		a.Spec.Placement = Placement{Clusters: &n, Prefer: []Selector{where("tier", "gold"), where("tier", "silver")}}
		placed := place(t, f, a)
		rank := map[string]int{"gold": 0, "silver": 1, "tin": 2}
		worst, best := -1, 3
		for _, c := range f.Clusters {
			if tier := rank[c.Labels["tier"]]; slices.Contains(placed.Clusters, c.Name) {
				worst = max(worst, tier)
			} else if isFree(f, c) {
				best = min(best, tier)
			}
		}
		if worst > best {
			t.Fatalf("tier %d chosen, tier %d left: %v", worst, best, placed.Clusters)
		}
	}))
	t.Run("a cluster that comes or goes moves as little as possible", rapid.MakeCheck(func(t *rapid.T) {
		f, a := drawFleet(t), drawApp(t)
		extra := drawCluster(t, rapid.SampledFrom([]string{"a", "c05x", "z"}).Draw(t, "name"))
		more := &Fleet{Settings: f.Settings, Clusters: slices.Concat(f.Clusters, []*Cluster{extra})}
		slices.SortFunc(more.Clusters, func(a, b *Cluster) int { return strings.Compare(a.Name, b.Name) })
		before, after := place(t, f, a), place(t, more, a)
		checkMoves(t, a, extra.Name, before, after)
	}))
}

// checkShares checks the quota rule: no share is a whole replica away from total * weight / weights.
func checkShares(t *rapid.T, f *Fleet, total int32, placed Placed) {
	var sum, weights int64
	for _, name := range placed.Clusters {
		c, _ := f.Cluster(name)
		weights += int64(c.Weight())
	}
	for _, name := range placed.Clusters {
		c, _ := f.Cluster(name)
		share := int64(placed.Replicas[name])
		sum += share
		if off := share*weights - int64(total)*int64(c.Weight()); off <= -weights || off >= weights {
			t.Fatalf("%s has %d of %d, its weight is %d of %d", name, share, total, c.Weight(), weights)
		}
	}
	if sum != int64(total) || len(placed.Replicas) != len(placed.Clusters) {
		t.Fatalf("shares %v sum to %d, not %d", placed.Replicas, sum, total)
	}
}

// checkMoves checks what one more cluster changed.
func checkMoves(t *rapid.T, a *App, extra string, before, after Placed) {
	var came, went []string
	for _, name := range after.Clusters {
		if !slices.Contains(before.Clusters, name) {
			came = append(came, name)
		}
	}
	for _, name := range before.Clusters {
		if !slices.Contains(after.Clusters, name) {
			went = append(went, name)
		}
	}
	if len(came) > 1 || len(went) > 1 || len(came) == 1 && came[0] != extra || len(went) > len(came) {
		t.Fatalf("%s came, %s went: %v to %v", came, went, before.Clusters, after.Clusters)
	}
	if a.Spec.Replicas == nil || len(went) > 0 {
		return // another cluster takes the place of one: its weight may differ, so all quotas move
	}
	// Nobody gains but the new cluster, apart from rounding; so what moves is its share and the rounding.
	moved, rounding := int32(0), int32(0)
	for name, was := range before.Replicas {
		is := after.Replicas[name]
		moved += max(was-is, 0)
		rounding += max(is-was, 0)
		if is > was+1 {
			t.Fatalf("%s rose from %d to %d although a cluster was added", name, was, is)
		}
	}
	if len(before.Clusters) > 0 && moved != after.Replicas[extra]+rounding {
		t.Fatalf("%d replicas moved for a share of %d: %v to %v", moved, after.Replicas[extra], before.Replicas, after.Replicas)
	}
}

func TestRendezvousFollowsWeight(t *testing.T) {
	heavy, light := weighing(3, "heavy"), weighing(1, "light")
	wins := 0
	const apps = 4000
	for i := range apps {
		app := fmt.Sprintf("app-%d", i)
		if rendezvous(app, heavy).compare(rendezvous(app, light)) < 0 {
			wins++
		}
	}
	// 3/4 of 4000 is 3000, with a standard deviation of 27.
	if wins < 2850 || wins > 3150 {
		t.Errorf("a cluster of weight 3 won %d of %d times against one of weight 1, want about %d", wins, apps, apps*3/4)
	}
}

func TestNegLog2(t *testing.T) {
	for _, x := range []uint64{0, 1, 2, 3, 1 << 20, 1<<63 - 1, 1 << 63, 3 << 62, math.MaxUint64} {
		want := 64 - math.Log2(math.Max(float64(x), 1))
		if got := float64(negLog2(x)) / (1 << logBits); math.Abs(got-want) > 1e-12 {
			t.Errorf("negLog2(%#x) = %v, want %v", x, got, want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test needs the same numbers each time
	for range 1000 {
		x := random.Uint64()
		want := 64 - math.Log2(float64(x))
		if got := float64(negLog2(x)) / (1 << logBits); math.Abs(got-want) > 1e-12 {
			t.Errorf("negLog2(%#x) = %v, want %v", x, got, want)
		}
	}
}

// TestPlacementIsPinned holds the choice itself: another hash would move apps in every fleet on upgrade.
func TestPlacementIsPinned(t *testing.T) {
	two := 2
	f := &Fleet{}
	for i := range 8 {
		f.Clusters = append(f.Clusters, weighing(int32(1+i%3), fmt.Sprintf("c%d", i)))
	}
	got := map[string][]string{}
	for _, name := range []string{"web", "api", "db"} {
		placed, err := f.Place(&App{Metadata: Metadata{Name: name}, Spec: AppSpec{Placement: Placement{Clusters: &two}}})
		if err != nil {
			t.Fatal(err)
		}
		got[name] = placed.Clusters
	}
	want := map[string][]string{"api": {"c5", "c6"}, "db": {"c3", "c5"}, "web": {"c4", "c7"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// largeFleet has 1,000 clusters in 10 regions and 300 apps of every sort.
func largeFleet() *Fleet {
	f := &Fleet{Settings: Settings{Spec: SettingsSpec{Drain: []Drain{{ClusterSelector: where("region", "r3")}}}}}
	for i := range 1000 {
		f.Clusters = append(f.Clusters, weighing(int32(1+i%4), fmt.Sprintf("c%04d region=r%d env=prod", i, i%10))) //nolint:gosec // small
	}
	for i := range 300 {
		a := &App{Metadata: Metadata{Name: fmt.Sprintf("a%03d", i)}, Spec: AppSpec{Placement: Placement{ClusterSelector: where("env", "prod")}}}
		if n := 5; i%3 > 0 {
			a.Spec.Placement.Clusters, a.Spec.Placement.SpreadBy = &n, "region"
		}
		if i%3 > 1 {
			a.Spec.Replicas = &Replicas{Total: 30}
			a.Spec.Placement.Prefer = []Selector{where("region", "r1"), where("region", "r2")}
		}
		f.Apps = append(f.Apps, a)
	}
	return f
}

// BenchmarkPlace places 300 apps on 1,000 clusters.
func BenchmarkPlace(b *testing.B) {
	f := largeFleet()
	for b.Loop() {
		f.placer = newPlacer(f)
		for _, a := range f.Apps {
			if _, err := f.Place(a); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkLoad loads 5,000 apps and 1,000 clusters.
func BenchmarkLoad(b *testing.B) {
	tr := treeOf(b, full)
	for i := range 5000 {
		data := strings.ReplaceAll(string(tr.files["apps/web/app.yaml"].Data), "{name: web,", fmt.Sprintf("{name: web-%d,", i))
		tr.files[fmt.Sprintf("apps/team-%d/web-%d/app.yaml", i%50, i)] = file(data)
	}
	for i := range 1000 {
		tr.files[fmt.Sprintf("clusters/c-%d/cluster.yaml", i)] = file(fmt.Sprintf("%skind: Cluster\nmetadata: {name: c-%d, labels: {region: r}}\n", header, i))
	}
	flat := maps.Clone(tr.files)
	b.ResetTimer()
	for b.Loop() {
		f, err := Load(indexed(flat))
		if err != nil || len(f.Apps) != 5003 {
			b.Fatal(len(f.Apps), err)
		}
	}
}
