package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// testCompiler compiles for the cluster c1. Every kind is served, and namespaced; commits are those of history.
func testCompiler(history map[string]tree.Tree) *compiler {
	return &compiler{
		cluster: "c1", instance: "holdfast", fleets: fleet.NewLoader(), renderer: render.NewRenderer(),
		tree: func(_ context.Context, commit string) (tree.Tree, error) {
			if t := history[commit]; t != nil {
				return t, nil
			}
			return nil, fmt.Errorf("there is no commit %s", commit)
		},
		lineage: newLineage(newestLast{}),
		record:  func(context.Context, string, map[string]apply.AppRecord) error { return nil },
		resolve: func(_ context.Context, gvk schema.GroupVersionKind) (kube.Resource, error) {
			return kube.Resource{GroupVersionKind: gvk, Namespaced: true}, nil
		},
		stage: func(string, time.Duration) {},
	}
}

// newestLast is a history in which commits descend from those that come before them in the alphabet.
type newestLast struct{ lacks string }

func (h newestLast) Ancestry(_ context.Context, commit, ancestor string) (yes, known bool, err error) {
	return commit >= ancestor, commit != h.lacks && ancestor != h.lacks, nil
}

func (newestLast) Between(context.Context, string, string) ([]string, bool, error) {
	return nil, false, nil
}
func (newestLast) Complete() bool               { return true }
func (newestLast) Deepen(context.Context) error { return nil }

const header = "apiVersion: holdfast.dev/v1alpha1\n"

// appFile is the file of an app of that name, with a spec in flow style.
func appFile(name, spec string) string {
	return header + "kind: App\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

// oneCluster is a fleet of the cluster c1 and the app db, which has one ConfigMap.
func oneCluster() *memTree {
	return newTree(map[string]string{
		"clusters/c1/cluster.yaml":   header + "kind: Cluster\nmetadata: {name: c1}\n",
		"apps/db/app.yaml":           appFile("db", ""),
		"apps/db/kustomization.yaml": "resources: [a.yaml]\n",
		"apps/db/a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	})
}

// An app that never got as far as having content here (it waits, or did not render) is not forgotten when its
// file breaks: it is placed by the last file that could be used, and says what is wrong with this one. Of an app
// that is new with a broken file nobody can tell where it would go: that is an error of the commit alone.
func TestBrokenFileOfAnAppThatWasNeverAdopted(t *testing.T) {
	old := oneCluster().with(map[string]string{
		"apps/web/app.yaml":           appFile("web", "dependsOn: [db]"),
		"apps/web/kustomization.yaml": "resources: [none.yaml]\n",
	})
	c := testCompiler(map[string]tree.Tree{"old": old})
	first, err := c.compile(t.Context(), request{commit: "old", tree: old})
	if err != nil {
		t.Fatal(err)
	}
	if web := first.apps["web"]; web.defined != "old" || web.err == nil {
		t.Fatalf("the app that does not render: %+v", web)
	}
	bad := old.with(map[string]string{
		"apps/web/app.yaml": appFile("web", "placment: {}"),
		"apps/new/app.yaml": appFile("new", "placment: {}"),
	})
	drained := bad.with(map[string]string{"fleet.yaml": header + "kind: Fleet\nmetadata: {name: f}\nspec: {drain: [{clusterSelector: {}}]}\n"})
	for _, commit := range []string{"bad", "still bad"} { // what is known does not fade
		out, err := c.compile(t.Context(), request{commit: commit, tree: bad, good: "old", apps: map[string]known{"web": {defined: "old"}}})
		if err != nil {
			t.Fatal(err)
		}
		web := out.apps["web"]
		if web.defined != "old" || web.err == nil || !strings.Contains(web.err.Error(), "apps/web/app.yaml") || !strings.Contains(web.err.Error(), "placment") {
			t.Errorf("at %q: %+v", commit, web)
		}
		if _, ok := out.apps["new"]; ok || !strings.Contains(errors.Join(out.errs...).Error(), "apps/new/app.yaml") {
			t.Errorf("at %q: the app whose placement is unknown: %v; errors %v", commit, out.apps["new"], out.errs)
		}
		if len(out.desired.Incomplete) != 2 {
			t.Errorf("at %q prunes wait for %q", commit, out.desired.Incomplete)
		}
	}
	out, err := c.compile(t.Context(), request{commit: "drained", tree: drained, good: "old", apps: map[string]known{"web": {defined: "old"}}})
	if err != nil {
		t.Fatal(err)
	}
	if web, ok := out.apps["web"]; ok {
		t.Errorf("an app that left is said to be here: %+v", web)
	}
}
