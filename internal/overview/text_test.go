package overview

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func text(t testing.TB, o *Overview, look Look) string {
	t.Helper()
	var b bytes.Buffer
	must(t, o.Text(&b, look))
	return b.String()
}

// What people see, as files to be read.
func TestText(t *testing.T) {
	unknown := alter(busy(t), func(in *Input) {
		in.Fleet, in.Head, in.Problems = nil, "", []string{"", "the fleet repository cannot be read: poll https://git.example.com/fleet.git: the server is in trouble (503 Service Unavailable)"}
	})
	three := load(t, clusters("", "a", "b", "c"))
	moved := alter(busy(t), func(in *Input) {
		in.Now = now.Add(time.Minute)
		in.Seen["us-east-2"] = seen("us-east-2", with("checkout"), with("storefront", unready))
		delete(in.Seen, "lab-7")
	})
	cases := map[string]struct {
		o    *Overview
		look Look
	}{
		"plain":           {New(busy(t)), Look{}},
		"80":              {New(busy(t)), Look{Width: 80}},
		"120":             {New(busy(t)), Look{Width: 120}},
		"200":             {New(busy(t)), Look{Width: 200}},
		"30":              {New(busy(t)), Look{Width: 30}},
		"colour":          {New(busy(t)), Look{Width: 120, Colour: true}},
		"well":            {New(input(three, seen("a", with("x")), seen("b", with("x")), seen("c", with("x")))), Look{}},
		"git-unknown":     {New(unknown), Look{}},
		"nothing-reports": {New(input(three)), Look{}},
		"no-clusters":     {New(input(load(t, clusters("")))), Look{}},
		"change":          {New(moved).Since(New(busy(t))), Look{}},
		"folded":          {New(many(t, 200)), Look{Width: 100, Height: 50}},
		"all-silent":      {New(alter(many(t, 200), func(in *Input) { in.Now = now.Add(time.Hour) })), Look{Width: 100, Height: 50}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := text(t, c.o, c.look)
			path := filepath.Join("testdata", name+".txt")
			if *update {
				must(t, os.MkdirAll("testdata", 0o755))
				must(t, os.WriteFile(path, []byte(got), 0o600))
			}
			want, err := os.ReadFile(path)
			must(t, err)
			if d := gocmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// many is a large fleet in the middle of a rollout.
func many(t testing.TB, n int) Input {
	t.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("c-%04d region-%d", i, i%5))
	}
	in := input(load(t, clusters("", names...)))
	for i := range n {
		cluster := fmt.Sprintf("c-%04d", i)
		change := []func(*status.Report){}
		if i%7 == 3 {
			change = append(change, at(older))
		}
		if i%90 == 40 {
			change = append(change, aged(12*time.Minute))
		}
		for a := range 20 {
			if i%31 == 5 && a == 3 {
				change = append(change, with(fmt.Sprintf("app-%02d", a), unready, held(status.GateWave, time.Minute, "waits for others")))
			} else {
				change = append(change, with(fmt.Sprintf("app-%02d", a)))
			}
		}
		in.Seen[cluster] = seen(cluster, change...)
	}
	return in
}

// Whatever others write, it neither steers the terminal nor breaks out of its line, and a line is no longer than the
// terminal is wide.
func TestTextOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x1b[2J", "\u009b31m", "\u202e", "a\nb", "\xff\xfe", "é", strings.Repeat("x", 300)}))
		app := rapid.Custom(func(t *rapid.T) status.App {
			return status.App{
				Name: word.Draw(t, "app"), Revision: word.Draw(t, "revision"), Ready: rapid.Bool().Draw(t, "ready"),
				Held:   []status.Held{{Gate: status.Gate(word.Draw(t, "gate")), Reason: word.Draw(t, "reason")}},
				Errors: []status.ObjectError{{Object: word.Draw(t, "object"), Message: word.Draw(t, "message")}},
			}
		})
		in := Input{Head: word.Draw(t, "head"), Read: true, Now: now, Seen: map[string]statusbus.Seen{}, Problems: []string{word.Draw(t, "problem")}}
		for range rapid.IntRange(0, 4).Draw(t, "clusters") {
			name := word.Draw(t, "cluster")
			in.Seen[name] = statusbus.Seen{Problem: word.Draw(t, "refused"), Report: &status.Report{
				Cluster: name, Labels: map[string]string{"region": word.Draw(t, "region")}, Commit: word.Draw(t, "commit"), Time: now,
				Apps: rapid.SliceOfN(app, 0, 3).Draw(t, "apps"),
			}}
		}
		if rapid.Bool().Draw(t, "git") {
			in.Fleet = &fleet.Fleet{
				Problems: []fleet.Problem{{Path: word.Draw(t, "path"), Message: word.Draw(t, "mistake"), Kind: fleet.KindCluster, Name: word.Draw(t, "folder")}},
				Settings: fleet.Settings{Spec: fleet.SettingsSpec{Freeze: []fleet.Freeze{{Reason: word.Draw(t, "freeze")}}}},
				Clusters: []*fleet.Cluster{{Metadata: fleet.Metadata{Name: "good"}}},
			}
		}
		look := Look{Width: rapid.IntRange(20, 200).Draw(t, "width"), Height: rapid.IntRange(0, 60).Draw(t, "height")}
		var b bytes.Buffer
		if err := New(in).Text(&b, look); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > look.Width {
				t.Errorf("%d characters: %q", n, line)
			}
			if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(line) {
				t.Errorf("not to be printed: %q", line)
			}
		}
	})
}

func TestJSONIsTheReports(t *testing.T) {
	o := New(busy(t))
	var indented, line bytes.Buffer
	must(t, o.JSON(&indented, false))
	must(t, o.JSON(&line, true))
	if n := bytes.Count(line.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines", n)
	}
	for _, b := range []*bytes.Buffer{&indented, &line} {
		var raw []json.RawMessage
		must(t, json.Unmarshal(b.Bytes(), &raw))
		var names []string
		for _, r := range raw {
			report, err := status.Decode(bytes.NewReader(r))
			must(t, err)
			names = append(names, report.Cluster)
			if d := gocmp.Diff(*busy(t).Seen[report.Cluster].Report, report); d != "" {
				t.Error(d)
			}
		}
		want := []string{"ap-south-1", "eu-north-1", "eu-west-1", "eu-west-2", "lab-7", "us-east-1", "us-east-2", "us-west-1", "us-west-2"}
		if !slices.Equal(names, want) {
			t.Errorf("%v", names)
		}
	}
	var none bytes.Buffer
	must(t, New(input(nil)).JSON(&none, true))
	if none.String() != "[]\n" {
		t.Errorf("no clusters are %q", none.String())
	}
}

func TestWarningsSayWhatTheJSONLacks(t *testing.T) {
	want := []string{
		`the status of us-west-3 cannot be used: its ref holds a report of the cluster "us-west-2": it was forged, or an agent there has the wrong name`,
		"never reported: ap-south-2, us-west-4",
		"silent, what they reported may be true no longer: eu-west-1",
		"not in Git: lab-7",
	}
	if d := gocmp.Diff(want, New(busy(t)).Warnings()); d != "" {
		t.Error(d)
	}
	if w := New(input(load(t, clusters("", "a")), seen("a"))).Warnings(); len(w) != 0 {
		t.Errorf("%q", w)
	}
}

// A row says the same after whatever only concerns the time.
func BenchmarkThousandClusters(b *testing.B) {
	in := many(b, 1000)
	before := New(in)
	in.Lags[older] = gitsource.Lag{Standing: gitsource.Behind, Commits: 4}
	b.ReportAllocs()
	for b.Loop() {
		o := New(in)
		if o.Since(before) == nil {
			b.Fatal("nothing has changed")
		}
		_ = text(b, o, Look{Width: 120, Height: 50})
	}
}
