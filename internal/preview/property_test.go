package preview

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func commit(id string, f files) Commit { return Commit{ID: id, Tree: treetest.New(f)} }

// drawCommits makes a fleet and another version of it. The first is sound, or whatever an edit made of one.
func drawCommits(t *rapid.T) (base, head Commit) {
	before := drawFleet(t)
	if rapid.IntRange(0, 3).Draw(t, "unsound base") == 0 {
		before = before.edit(t)
	}
	return commit("base", before), commit("head", before.edit(t))
}

// loaded is a comparison that has read both fleets, nil if one of them cannot be used at all.
func loaded(t *rapid.T, base, head Commit) *comparison {
	c := newComparison(base, head, Options{Now: now})
	if err := c.load(); err != nil {
		t.Skip(err)
	}
	return c
}

// TestOnlyWhatMayDifferIsRendered compares with rendering every app for every cluster at both commits: the diff
// and all that is foreseen must be the same, whatever the edit.
func TestOnlyWhatMayDifferIsRendered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, head := drawCommits(t)
		c := loaded(t, base, head)
		got, err := Compare(context.Background(), base, head, Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		everything := map[string][]string{}
		for _, cluster := range c.clusterNames() {
			everything[cluster] = c.appNames()
		}
		clusters, rollouts, err := c.clusters(context.Background(), everything)
		if err != nil {
			t.Fatal(err)
		}
		clusters, got.Clusters = c.comparable(t, clusters), c.comparable(t, got.Clusters)
		if diff := cmp.Diff(clusters, got.Clusters, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-everything +affected):\n%s", diff)
		}
		if diff := cmp.Diff(rollouts, got.Rollouts, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-everything +affected):\n%s", diff)
		}
	})
}

// comparable leaves out what the preview does not look for: that an app is suspended which is not affected, and
// that one which is not affected does not render, at base as at head, so that nothing is deleted on its cluster.
func (c *comparison) comparable(t *rapid.T, clusters []Cluster) (kept []Cluster) {
	affected, err := c.affected(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range clusters {
		one.Warnings = slices.DeleteFunc(slices.Clone(one.Warnings), func(s string) bool { return strings.Contains(s, "is suspended") })
		if len(one.Apps)+len(one.Warnings) == 0 {
			continue
		}
		all, err := c.head.render(context.Background(), one.Name, c.appNames(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(all.Apps, func(a render.AppResult) bool {
			return a.Err != nil && !slices.Contains(affected[one.Name], a.App.Name)
		}) {
			one.Holds = nil
			for i := range one.Apps {
				for j := range one.Apps[i].Objects {
					one.Apps[i].Objects[j].Held = ""
				}
			}
		}
		kept = append(kept, one)
	}
	return kept
}

// TestBuildsLookAtNothingButTheirSources holds the walk that decides what is rendered against builds.
func TestBuildsLookAtNothingButTheirSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, head := drawCommits(t)
		f, err := fleet.Load(head.Tree)
		if err != nil {
			t.Skip(err)
		}
		for _, app := range f.Apps {
			for _, cluster := range f.Clusters {
				res, err := render.Build(context.Background(), render.Request{Tree: head.Tree, App: app, Facts: cluster.Facts(), Instance: instance})
				if err != nil {
					continue
				}
				sources, err := render.Sources(head.Tree, res.Overlay)
				if err != nil {
					t.Errorf("%s: the walk fails and the build does not: %v", app.Name, err)
				}
				for _, r := range res.Reads {
					if !slices.Contains(sources, r) {
						t.Errorf("%s: a build looks at %+v, which is not among the sources", app.Name, r)
					}
				}
				if res.UsesFacts && !app.Spec.Substitute && !sources.UseFacts(head.Tree) {
					t.Errorf("%s: a build uses facts, and the sources do not say so", app.Name)
				}
			}
		}
	})
}

// TestApplyingTheDiffGivesHead: what base declares, with the diff of the JSON applied to it, is what head
// declares, where both are known.
func TestApplyingTheDiffGivesHead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, head := drawCommits(t)
		c := loaded(t, base, head)
		d, err := Compare(context.Background(), base, head, Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := d.JSON(&b); err != nil {
			t.Fatal(err)
		}
		var told jsonDiff
		if err := json.Unmarshal(b.Bytes(), &told); err != nil {
			t.Fatal(err)
		}
		for _, cluster := range c.head.Fleet.Clusters {
			was, unknownWas := printed(t, &c.base.Revision, cluster.Name)
			is, unknown := printed(t, &c.head.Revision, cluster.Name)
			i := slices.IndexFunc(told.Clusters, func(j jsonCluster) bool { return j.Name == cluster.Name })
			after := maps.Clone(was)
			if i >= 0 {
				counts := map[Action]int{}
				for _, app := range told.Clusters[i].Apps {
					for _, o := range app.Objects {
						counts[o.Action]++
						text, there := after[o.ID]
						if there == (o.Action == Create) {
							t.Fatalf("%s: %s of %s, which is there: %t", cluster.Name, o.Action, o.ID, there)
						}
						if after[o.ID] = patch(t, text, o.Diff); o.Action == Delete {
							if after[o.ID] != "" {
								t.Fatalf("%s: of %s is left:\n%s", cluster.Name, o.ID, after[o.ID])
							}
							delete(after, o.ID)
						}
					}
				}
				if n := told.Clusters[i]; counts[Create] != n.Create || counts[Configure] != n.Configure || counts[Delete] != n.Delete {
					t.Errorf("%s: counts %d %d %d, objects %v", n.Name, n.Create, n.Configure, n.Delete, counts)
				}
			}
			// What is unknown at head stays as it was, and says so.
			for id, text := range after {
				if _, declared := is[id]; declared {
					continue
				}
				if !unknown || was[id] != text {
					t.Errorf("%s: %s is left", cluster.Name, id)
				}
				if i < 0 && !unknownWas {
					t.Errorf("%s: %s is unknown, and there is no warning", cluster.Name, id)
				}
				delete(after, id)
			}
			// The values of Secrets are not in the diff, so neither are they compared.
			if diff := cmp.Diff(masks(is), masks(after)); diff != "" {
				t.Errorf("%s (-head +base with the diff):\n%s", cluster.Name, diff)
			}
		}
	})
}

// printed are the objects of a cluster as render prints them, by name; unknown tells that some are not known.
func printed(t *rapid.T, rev *render.Revision, cluster string) (texts map[string]string, unknown bool) {
	texts = map[string]string{}
	if _, ok := rev.Fleet.Cluster(cluster); !ok {
		return texts, true
	}
	res, err := render.Cluster(context.Background(), render.ClusterRequest{Head: rev.Tree, HeadCommit: rev.Commit, Fleet: rev.Fleet, Name: cluster, Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	unknown = len(rev.Fleet.Problems) > 0
	for i := range res.Apps {
		a := &res.Apps[i]
		unknown = unknown || a.Err != nil || len(a.ObjectErrors) > 0
		for j := range a.Objects {
			var b bytes.Buffer
			if err := render.Print(&b, a.Objects[j:j+1], render.PrintOptions{}); err != nil {
				t.Fatal(err)
			}
			texts[render.Name(a.Objects[j].ID)] = strings.TrimPrefix(b.String(), "---\n")
		}
	}
	return texts, unknown
}

// masks makes all masked values alike.
func masks(texts map[string]string) map[string]string {
	alike := map[string]string{}
	for id, text := range texts {
		var b strings.Builder
		for line := range strings.Lines(text) {
			if before, _, ok := strings.Cut(line, "***"); ok {
				line = strings.TrimRight(before, "'") + "***\n"
			}
			b.WriteString(line)
		}
		alike[id] = b.String()
	}
	return alike
}

// patch applies a unified diff. Lines of masked values match whatever is masked.
func patch(t *rapid.T, text, diff string) string {
	old := strings.SplitAfter(text, "\n")
	var out strings.Builder
	at := 0
	take := func(line string) {
		if at >= len(old) || masks(map[string]string{"": old[at]})[""] != masks(map[string]string{"": line})[""] {
			t.Fatalf("line %d is not %q in\n%s\nof\n%s", at+1, line, text, diff)
		}
		at++
	}
	for line := range body(diff) {
		switch rest := line[1:]; line[0] {
		case '@':
			var from int
			if _, err := fmt.Sscanf(line, "@@ -%d", &from); err != nil {
				t.Fatal(err)
			}
			for ; at < from-1; at++ {
				out.WriteString(old[at])
			}
		case ' ':
			out.WriteString(old[at])
			take(rest)
		case '-':
			take(rest)
		case '+':
			out.WriteString(rest)
		default:
			t.Fatal(strconv.Quote(line))
		}
	}
	for ; at < len(old); at++ {
		out.WriteString(old[at])
	}
	return out.String()
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// encodings are forms in which a value might slip out.
func encodings(s string) []string {
	return []string{
		s, base64Of(s), base64Of(base64Of(s)), base64.RawStdEncoding.EncodeToString([]byte(s)), base64.URLEncoding.EncodeToString([]byte(s)),
		hex.EncodeToString([]byte(s)), strconv.Quote(s), url.QueryEscape(s),
	}
}
