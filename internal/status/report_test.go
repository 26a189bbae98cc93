package status

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with testdata/name, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

var (
	noon  = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	berne = time.FixedZone("CET", 3600)
)

func ptr[T any](v T) *T { return &v }

// storefront is an app with everything.
func storefront() AppState {
	return AppState{
		Name:           "storefront",
		Revision:       "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00",
		Changed:        "beef0000beef0000beef0000beef0000beef0000",
		Placement:      "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00",
		Proven:         "beef0000beef0000beef0000beef0000beef0000",
		Content:        "0123456789abcdef",
		ProvenContents: []string{"0123456789abcdef", "old"},
		Ready:          true,
		Since:          noon.Add(-time.Hour + 300*time.Millisecond).In(berne),
		Replicas:       Replicas{Desired: 6, Ready: 6},
		Objects:        42,
		Drift:          Drift{Corrected: 3, Last: ptr(noon.Add(-time.Minute))},
		Held:           []Held{{Gate: GateWave, Since: noon.Add(-2 * time.Minute), Reason: "waits for eu-west-1"}},
	}
}

// broken is an app that fails.
func broken() AppState {
	return AppState{
		Name:          "broken",
		Revision:      "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00",
		Changed:       "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00",
		Since:         noon, // must not be shown: it is not Ready
		UnreadySince:  noon.Add(-time.Minute),
		HealthTimeout: 5 * time.Minute,
		Errors: []ObjectError{
			{Object: "apps/Deployment/shop/web", Message: "spec.template: required"},
			{Object: "Service/shop/web", Message: "port 0 is invalid"},
		},
	}
}

func exampleReport() Report {
	return NewReport(
		Reporter{Cluster: "us-east-1", Labels: map[string]string{"region": "us-east"}, Agent: "v0.1.0", Commit: "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00", Fetched: noon.Add(-5 * time.Second)},
		map[string]AppState{"storefront": storefront(), "broken": broken()}, noon.Add(999*time.Millisecond).In(berne))
}

func TestReportGolden(t *testing.T) {
	data, err := json.MarshalIndent(exampleReport(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(data, '\n'))

	data, err = json.MarshalIndent(NewReport(Reporter{Cluster: "new"}, nil, noon), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report-empty.json", append(data, '\n'))
}

func TestAnAppIsHere(t *testing.T) {
	for name, tt := range map[string]struct {
		app  App
		here bool
	}{
		"it runs elsewhere":                     {App{Placement: "head"}, false},
		"it is adopted":                         {App{Placement: "head", Revision: "head"}, true},
		"it is leaving":                         {App{Placement: "head", Objects: 1}, true},
		"its replicas still run":                {App{Placement: "head", Replicas: Replicas{Ready: 1}}, true},
		"it is held before it was ever adopted": {App{Placement: "head", Held: []Held{{Gate: GateDependsOn}}}, true},
		"it failed before it was ever adopted":  {App{Placement: "head", Errors: []ObjectError{{Message: "no such file"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.app.Here(); got != tt.here {
				t.Errorf("here is %v", got)
			}
		})
	}
}

func TestReportSurvivesARoundTrip(t *testing.T) {
	want := exampleReport()
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDecode(t *testing.T) {
	const (
		head = `{"apiVersion":"holdfast.dev/v1alpha1","cluster":"c","time":"2026-11-20T12:00:00Z","apps":[`
		tail = `]}`
		rest = `"placement":"","objects":0`
		app  = `"name":"a","ready":false,"since":null,"replicas":{"desired":1,"ready":0},` + rest
	)
	for _, test := range []struct {
		name, json, err string
	}{
		{"a whole report", head + `{` + app + `}` + tail, ""},
		{"unknown fields", head + `{` + app + `,"mood":{"x":[1]}}` + `],"weather":"fine"}`, ""},
		{"a gate of a newer agent", head + `{` + app + `,"held":[{"gate":"Moon","since":"2026-11-20T12:00:00Z","reason":"full"}]}` + tail, ""},
		{"another version", strings.Replace(head, "v1alpha1", "v2", 1) + tail, `apiVersion is "holdfast.dev/v2"`},
		{"no cluster", strings.Replace(head, `"c"`, `""`, 1) + tail, "cluster is missing"},
		{"a field of another case is not ours", strings.Replace(head, `"cluster"`, `"Cluster"`, 1) + tail, "cluster is missing"},
		{"no time", strings.Replace(head, `"time":"2026-11-20T12:00:00Z",`, "", 1) + tail, "time is missing"},
		{"a time that is none", strings.Replace(head, "2026-11-20T12:00:00Z", "noon", 1) + tail, "noon"},
		{"no apps", strings.TrimSuffix(head, `,"apps":[`) + `}`, "apps is missing"},
		{"apps null", strings.TrimSuffix(head, `[`) + `null}`, "apps is missing"},
		{"no objects", head + `{` + strings.Replace(app, `,"objects":0`, "", 1) + `}` + tail, `app "a": objects is missing`},
		{"objects null", head + `{` + strings.Replace(app, `"objects":0`, `"objects":null`, 1) + `}` + tail, `app "a": objects is missing`},
		{"objects negative", head + `{` + strings.Replace(app, `"objects":0`, `"objects":-1`, 1) + `}` + tail, "negative"},
		{"no placement", head + `{` + strings.Replace(app, `"placement":"",`, "", 1) + `}` + tail, `app "a": placement is missing`},
		{"no replicas", head + `{"name":"a",` + rest + `}` + tail, `app "a": replicas is missing`},
		{"replicas without desired", head + `{"name":"a","replicas":{"ready":0}}` + tail, "desired and ready are required"},
		{"replicas null", head + `{"name":"a","replicas":null,` + rest + `}` + tail, `app "a": replicas is missing`},
		{"replicas negative", head + `{"name":"a","replicas":{"desired":-1,"ready":0},` + rest + `}` + tail, "negative"},
		{"a duplicate field", strings.Replace(head, `"cluster":"c"`, `"cluster":"c","cluster":"d"`, 1) + tail, "duplicate"},
		{"an app twice", head + `{` + app + `},{` + app + `}` + tail, "twice"},
		{"an app without a name", head + `{"replicas":{"desired":1,"ready":0},` + rest + `}` + tail, "no name"},
		{"since without ready", head + strings.Replace(`{`+app+`}`, "null", `"2026-11-20T12:00:00Z"`, 1) + tail, "not ready"},
		{"cut off", head, "unexpected end"},
		{"something after it", head + tail + `{}`, "after top-level value"},
		{"empty", "", "unexpected end"},
		{"too large", strings.Repeat(" ", MaxReportBytes+1), "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode(strings.NewReader(test.json))
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	data, err := json.Marshal(exampleReport())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"apiVersion":"holdfast.dev/v1alpha1","cluster":"c","time":"2026-11-20T12:00:00Z","apps":[{"name":"a","placement":"","replicas":{"desired":0,"ready":0},"objects":0}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		// What was accepted says what it must, and is accepted again in our own words.
		again, err := json.Marshal(report)
		if err != nil {
			t.Skip("a time beyond the year 9999")
		}
		if _, err := Decode(bytes.NewReader(again)); err != nil {
			t.Errorf("%v\n%s", err, again)
		}
	})
}
