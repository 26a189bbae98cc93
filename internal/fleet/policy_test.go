package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPermits(t *testing.T) {
	date := func(text string) Date {
		var d Date
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	p := Prune{Permit: []Permit{
		{App: "shop", Kinds: []string{"Namespace", "Secret"}, Until: date("2026-12-01")},
		{App: "web", Until: date("2026-12-01T18:00:00+01:00")},
	}}
	tests := []struct {
		name, app, kind, at string
		want                bool
	}{
		{"a kind that is named", "shop", "Namespace", "2026-11-30T12:00:00Z", true},
		{"a kind that is not named", "shop", "ConfigMap", "2026-11-30T12:00:00Z", false},
		{"another app", "shop2", "Namespace", "2026-11-30T12:00:00Z", false},
		{"to the end of the day", "shop", "Namespace", "2026-12-01T23:59:59Z", true},
		{"the next day", "shop", "Namespace", "2026-12-02T00:00:00Z", false},
		{"the day is one of UTC", "shop", "Namespace", "2026-12-02T00:30:00+01:00", true},
		{"without kinds: any", "web", "Deployment", "2026-12-01T17:00:00Z", true},
		{"without kinds: no protected one", "web", "PersistentVolumeClaim", "2026-11-30T12:00:00Z", false},
		{"after its last moment", "web", "Deployment", "2026-12-01T17:00:01Z", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, test.at)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Permits(test.app, test.kind, at); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestIgnoredFields(t *testing.T) {
	d := DriftPolicy{Ignore: []DriftIgnore{
		{Kind: "Deployment", Name: "web", Fields: []string{"/spec/replicas"}},
		{Group: "apps", Fields: []string{"/metadata/annotations/x", "/spec/replicas"}},
		{Namespace: "other", Fields: []string{"/data"}},
	}}
	tests := []struct {
		name, group, kind, namespace, object string
		want                                 []string
	}{
		{"from several lines, each once", "apps", "Deployment", "shop", "web", []string{"/spec/replicas", "/metadata/annotations/x"}},
		{"by group", "apps", "StatefulSet", "shop", "web", []string{"/metadata/annotations/x", "/spec/replicas"}},
		{"by namespace", "", "ConfigMap", "other", "x", []string{"/data"}},
		{"none", "", "Namespace", "", "other", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, d.IgnoredFields(test.group, test.kind, test.namespace, test.object)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWaveOf(t *testing.T) {
	waves := App{Spec: AppSpec{Rollout: Rollout{Waves: []Wave{{ClusterSelector: where("env", "canary")}, {ClusterSelector: where("region", "us")}}}}}
	tests := []struct {
		name   string
		app    App
		labels map[string]string
		want   int
	}{
		{"the first that matches", waves, map[string]string{"env": "canary", "region": "us"}, 0},
		{"the second", waves, map[string]string{"region": "us"}, 1},
		{"in none: last", waves, nil, 2},
		{"no waves", App{}, map[string]string{"env": "canary"}, 0},
		{"an empty wave takes all", App{Spec: AppSpec{Rollout: Rollout{Waves: []Wave{{}}}}}, nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.app.WaveOf(test.labels); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestOverlay(t *testing.T) {
	app := func(overlays ...Overlay) *App {
		return &App{Metadata: Metadata{Name: "web"}, Dir: "apps/web", Spec: AppSpec{Overlays: overlays}}
	}
	eu := Overlay{ClusterSelector: where("region", "eu"), Path: "overlays/eu"}
	tests := []struct {
		name      string
		app       *App
		labels    map[string]string
		want, err string
	}{
		{"none: the app's folder", app(), nil, "apps/web", ""},
		{"the first that matches", app(eu, Overlay{Path: "./overlays//default/"}), map[string]string{"region": "eu"}, "apps/web/overlays/eu", ""},
		{"the rest", app(eu, Overlay{Path: "./overlays//default/"}), map[string]string{"region": "us"}, "apps/web/overlays/default", ""},
		{"outside the app's folder", app(Overlay{Path: "../../shared"}), nil, "shared", ""},
		{"no match", app(eu), map[string]string{"region": "us", "env": "prod"}, "",
			`app "web": none of its 1 overlays matches the cluster's labels {env=prod,region=us}`},
		{"outside the repository", app(Overlay{Path: "../../../shared"}), nil, "",
			`app "web": overlay "../../../shared": must be a relative path that stays in the repository`},
		{"absolute", app(Overlay{Path: "/etc"}), nil, "", `app "web": overlay "/etc": must be a relative path that stays in the repository`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.app.Overlay(test.labels)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if message := errorText(err); message != test.err {
				t.Errorf("got error %q, want %q", message, test.err)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSelectorMatches(t *testing.T) {
	expression := func(key string, op metav1.LabelSelectorOperator, values ...string) Selector {
		return Selector{LabelSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}}}
	}
	both := expression("region", metav1.LabelSelectorOpIn, "us", "eu")
	both.MatchLabels = map[string]string{"env": "prod"}
	us := map[string]string{"region": "us", "env": "prod"}
	tests := []struct {
		name     string
		selector Selector
		labels   map[string]string
		want     bool
	}{
		{"empty", Selector{}, us, true},
		{"empty, no labels", Selector{}, nil, true},
		{"In", expression("region", metav1.LabelSelectorOpIn, "us", "eu"), us, true},
		{"In, absent", expression("zone", metav1.LabelSelectorOpIn, "a"), us, false},
		{"NotIn", expression("region", metav1.LabelSelectorOpNotIn, "us"), us, false},
		{"NotIn, absent", expression("zone", metav1.LabelSelectorOpNotIn, "a"), us, true},
		{"Exists", expression("region", metav1.LabelSelectorOpExists), us, true},
		{"DoesNotExist", expression("region", metav1.LabelSelectorOpDoesNotExist), us, false},
		{"all must hold", both, us, true},
		{"one does not hold", both, map[string]string{"region": "us", "env": "dev"}, false},
		{"an invalid one, made in code, matches nothing", expression("region", "Is"), us, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.selector.Matches(test.labels); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestDrainedPrefersForce(t *testing.T) {
	f := &Fleet{Settings: Settings{Spec: SettingsSpec{Drain: []Drain{
		{ClusterSelector: where("region", "us"), Reason: "first"},
		{ClusterSelector: where("region", "us"), Reason: "burning", Force: true},
		{ClusterSelector: where("region", "us"), Reason: "later", Force: true},
	}}}}
	if drain, ok := f.Drained(cluster("a region=us")); !ok || drain.Reason != "burning" {
		t.Errorf("got %+v, %v", drain, ok)
	}
	if _, ok := f.Drained(cluster("b")); ok {
		t.Error("b is drained")
	}
}

func TestDefaults(t *testing.T) {
	var (
		c Cluster
		a AppSpec
		p Prune
	)
	zero := Duration{}
	got := []any{c.State(), c.Weight(), a.Drift.ModeOrDefault(), a.Health.TimeoutOrDefault(), a.Failover.GateOrDefault(),
		a.Failover.SoakOrDefault(), Failover{Soak: &zero}.SoakOrDefault(), p.MaxPercentOrDefault(), p.MinObjectsOrDefault()}
	want := []any{Active, int32(1), Correct, 5 * time.Minute, TakeoverHealthy, 30 * time.Second, time.Duration(0), 30, 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
