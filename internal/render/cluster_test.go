package render

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

const twoApps = `
-- clusters/one/cluster.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: Cluster
metadata: {name: one, labels: {env: prod}}
spec: {vars: {v: new}}
-- clusters/two/cluster.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: Cluster
metadata: {name: two}
spec: {state: Drained}
-- apps/web/app.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: App
metadata: {name: web}
spec: {replicas: {total: 6}, substitute: true}
-- apps/web/kustomization.yaml --
resources: [a.yaml, b.yaml]
-- apps/web/a.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {replicas: 1, v: "${v}"}
-- apps/web/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: shared, namespace: shop}
-- apps/broken/app.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: App
metadata: {name: broken}
-- apps/broken/kustomization.yaml --
resources: [gone.yaml]
-- apps/also/app.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: App
metadata: {name: also}
-- apps/also/kustomization.yaml --
resources: [b.yaml]
-- apps/also/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: shared, namespace: shop}
`

func load(t *testing.T, files memTree) *fleet.Fleet {
	t.Helper()
	fl, err := fleet.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return fl
}

// TestCluster: one broken app touches no other, and what two apps declare is listed.
func TestCluster(t *testing.T) {
	files := archive(t, twoApps)
	res, err := Cluster(t.Context(), ClusterRequest{Head: files, HeadCommit: "h", Fleet: load(t, files), Name: "one", Instance: "i"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range res.Apps {
		line := a.App.Name + " " + a.Commit
		if a.Err != nil {
			line += " error"
		}
		for _, id := range a.IDs() {
			line += " " + Name(id)
		}
		got = append(got, line)
	}
	want := []string{"also h ConfigMap/shop/shared", "broken h error", "web h ConfigMap/shop/shared apps/Deployment/shop/web"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(res.Apps[1].Err.Error(), "gone.yaml") {
		t.Errorf("the error does not name the file: %v", res.Apps[1].Err)
	}
	if all := res.Duplicates(); len(all) != 1 || Name(all[0].ID) != "ConfigMap/shop/shared" ||
		strings.Join(all[0].Apps, " ") != "also web" {
		t.Errorf("duplicates: %v", all)
	}
}

// TestClusterAdopted: an app held at an older revision has that revision's content (files, vars,
// overlay) with head's placement and share.
func TestClusterAdopted(t *testing.T) {
	old := archive(t, strings.ReplaceAll(twoApps, "v: new", "v: old"))
	delete(old, "apps/web/b.yaml")
	old["apps/web/kustomization.yaml"] = "resources: [a.yaml]\n"
	head := archive(t, strings.ReplaceAll(twoApps, "total: 6", "total: 8"))
	req := ClusterRequest{
		Head: head, HeadCommit: "h", Fleet: load(t, head), Name: "one", Instance: "i",
		Adopted: func(app string) (Revision, bool) {
			return Revision{Commit: "o", Tree: old, Fleet: load(t, old)}, app == "web"
		},
	}
	res, err := Cluster(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	web := res.Apps[2]
	if web.Err != nil || web.Commit != "o" || len(web.Objects) != 1 {
		t.Fatalf("%+v", web)
	}
	if s := string(web.Objects[0].JSON); !strings.Contains(s, `"v":"old"`) || !strings.Contains(s, `"replicas":8`) {
		t.Errorf("content of the old, share of head: %s", s)
	}

	broken := head.with("apps/web/a.yaml", "a: [")
	req.Head = broken
	if res, err = Cluster(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if web = res.Apps[2]; web.Err != nil || len(web.Objects) != 1 {
		t.Errorf("a broken head stops what is adopted: %+v", web)
	}
}

// TestClusterEnforced: what is enforced here may be another share than head gives, or an app that head does not
// place here any more.
func TestClusterEnforced(t *testing.T) {
	head := archive(t, strings.ReplaceAll(twoApps, "total: 6", "total: 8"))
	five := int32(5)
	for _, tt := range []struct {
		name     string
		enforced Enforced
		objects  int
		replicas string
	}{
		{"another share", Enforced{Placed: true, Share: &five}, 2, `"replicas":5`},
		{"the manifest's own number", Enforced{Placed: true}, 2, ""},
		{"not here", Enforced{}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := Cluster(t.Context(), ClusterRequest{
				Head: head, HeadCommit: "h", Fleet: load(t, head), Name: "one", Instance: "i",
				Enforced: func(app string) (Enforced, bool) { return tt.enforced, app == "web" },
			})
			if err != nil {
				t.Fatal(err)
			}
			web := res.Apps[2]
			if web.Err != nil || len(web.Objects) != tt.objects || web.Placed != tt.enforced.Placed {
				t.Fatalf("%+v", web)
			}
			for _, o := range web.Objects {
				if o.ID.GroupKind.Kind == "Deployment" && !strings.Contains(string(o.JSON), tt.replicas) {
					t.Errorf("got %s", o.JSON)
				}
			}
		})
	}
}

// TestClusterShare: the content hash does not change with the share, the object does.
func TestClusterShare(t *testing.T) {
	hashes := map[string]string{}
	var content []string
	for _, total := range []string{"total: 6", "total: 0"} {
		files := archive(t, strings.ReplaceAll(twoApps, "total: 6", total))
		res, err := Cluster(t.Context(), ClusterRequest{Head: files, HeadCommit: "h", Fleet: load(t, files), Name: "one", Instance: "i"})
		if err != nil {
			t.Fatal(err)
		}
		web := res.Apps[2]
		content = append(content, web.Content)
		for _, o := range web.Objects {
			if o.ID.GroupKind.Kind == "Deployment" {
				hashes[o.Hash] = total
			}
		}
	}
	if content[0] != content[1] || len(hashes) != 2 {
		t.Errorf("content %v, hashes %v", content, hashes)
	}
}

// TestClusterDrained: an app that is not placed here is no error, and has no objects.
func TestClusterDrained(t *testing.T) {
	files := archive(t, twoApps)
	res, err := Cluster(t.Context(), ClusterRequest{Head: files, HeadCommit: "h", Fleet: load(t, files), Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range res.Apps {
		if a.Placed || a.Err != nil || len(a.Objects) > 0 {
			t.Errorf("%s: placed %t, %v", a.App.Name, a.Placed, a.Err)
		}
		if len(a.Placement.Clusters) != 1 {
			t.Errorf("%s: the others are not known: %v", a.App.Name, a.Placement)
		}
	}
}

// TestClusterUnknown: a cluster without a file has no desired state, not an empty one.
func TestClusterUnknown(t *testing.T) {
	files := archive(t, twoApps)
	_, err := Cluster(t.Context(), ClusterRequest{Head: files, HeadCommit: "h", Fleet: load(t, files), Name: "three"})
	if !errors.Is(err, ErrUnknownCluster) || !strings.Contains(err.Error(), "three") {
		t.Error(err)
	}
}

// TestClusterCancelled: a cancelled rendering is an error, never a part of the truth.
func TestClusterCancelled(t *testing.T) {
	files := archive(t, twoApps)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if res, err := Cluster(ctx, ClusterRequest{Head: files, HeadCommit: "h", Fleet: load(t, files), Name: "one"}); !errors.Is(err, context.Canceled) {
		t.Error(res, err)
	}
}

// TestDeterministic: the same bytes at every run and every parallelism.
func TestDeterministic(t *testing.T) {
	files := archive(t, twoApps)
	for i := range 20 {
		m := memTree{}
		for k, v := range files {
			if strings.HasPrefix(k, "apps/web/") {
				m[strings.Replace(k, "apps/web/", "apps/w"+string(rune('a'+i))+"/", 1)] = strings.ReplaceAll(v, "name: web", "name: w"+string(rune('a'+i)))
			}
		}
		for k, v := range m {
			files[k] = v
		}
	}
	fl := load(t, files)
	var want string
	for _, parallel := range []int{1, 2, 8, 1} {
		res, err := Cluster(t.Context(), ClusterRequest{Head: files, HeadCommit: "h", Fleet: fl, Name: "one", Instance: "i", Parallel: parallel})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, a := range res.Apps {
			b.WriteString(a.App.Name + a.Content)
			for _, o := range a.Objects {
				b.WriteString(string(o.JSON) + o.Hash)
			}
		}
		if want == "" {
			want = b.String()
		}
		if b.String() != want {
			t.Errorf("parallel %d gives something else", parallel)
		}
	}
}
