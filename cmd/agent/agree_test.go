package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/preview"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

// TestTheAgentDoesWhatDiffForetells runs a real agent over some commits. After each, what is live on its cluster is
// what the preview said, given what was live before: created, deleted, and kept where the preview said that a
// deletion is held; and the permits that the preview proposed release what they are for.
func TestTheAgentDoesWhatDiffForetells(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	cluster := localclustertest.Start(t, localcluster.Options{Bare: true})
	a := newAgreement(t, cluster.Kubeconfig())
	base := map[string]string{
		"fleet.yaml":                       "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\n",
		"clusters/east/cluster.yaml":       "apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: east, labels: {region: east}}\n",
		"clusters/west/cluster.yaml":       "apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: west, labels: {region: west}}\n",
		"apps/shop/app.yaml":               appOf("shop", ""),
		"apps/shop/kustomization.yaml":     listOf(0, 24, "claim.yaml"),
		"apps/shop/claim.yaml":             "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: default}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n",
		"apps/kept/app.yaml":               appOf("kept", ""),
		"apps/kept/kustomization.yaml":     "resources: [kept.yaml, gone.yaml]\n",
		"apps/kept/kept.yaml":              "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default, annotations: {holdfast.dev/prune: disabled}}\n",
		"apps/kept/gone.yaml":              "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone, namespace: default}\n",
		"apps/moves/app.yaml":              appOf("moves", "failover: {gate: None}"),
		"apps/moves/kustomization.yaml":    "resources: [moves.yaml]\n",
		"apps/moves/moves.yaml":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: moves, namespace: default}\n",
		"apps/renamed/app.yaml":            appOf("renamed", ""),
		"apps/renamed/kustomization.yaml":  "resources: [renamed.yaml]\n",
		"apps/renamed/renamed.yaml":        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: renamed, namespace: default}\n",
		"clusters/east/kustomization.yaml": "resources: [own.yaml]\n",
		"clusters/east/own.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: default}\n",
		"apps/other/app.yaml":              appOf("other", "placement: {clusterSelector: {matchLabels: {region: west}}}"),
		"apps/other/kustomization.yaml":    "resources: [other.yaml]\n",
		"apps/other/other.yaml":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: default}\n",
	}
	for i := range 24 {
		base[fmt.Sprintf("apps/shop/c%02d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%02d, namespace: default}\ndata: {v: a}\n", i)
	}
	a.commit(base)
	a.start("east")
	a.settled(a.declared())

	t.Log("a few objects are deleted, some of them kept or protected")
	d := a.step(map[string]string{"apps/shop/kustomization.yaml": listOf(0, 21), "apps/kept/kustomization.yaml": "resources: []\n", "apps/kept/app.yaml": appOf("kept", "allowEmpty: true")})
	if got := causes(d); got != "protected 1" {
		t.Errorf("held: %s", got)
	}
	t.Log("an app goes to the other cluster, another is renamed, another is suspended")
	d = a.step(map[string]string{
		"apps/moves/app.yaml":   appOf("moves", "failover: {gate: None}, placement: {clusterSelector: {matchLabels: {region: west}}}"),
		"apps/renamed/app.yaml": appOf("named", ""),
		"apps/kept/app.yaml":    appOf("kept", "allowEmpty: true, suspend: true"),
	})
	if got := causes(d); got != "" {
		t.Errorf("held: %s", got)
	}
	t.Log("too many at once")
	d = a.step(map[string]string{"apps/shop/kustomization.yaml": listOf(0, 6)})
	if got := causes(d); got != "brake 15" {
		t.Errorf("held: %s", got)
	}
	var lines []string
	for _, p := range d.Permits {
		lines = append(lines, "    "+p.String())
	}
	t.Log("the permits that were printed are pasted")
	a.release = held(d)
	a.step(map[string]string{"fleet.yaml": "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec:\n  prune:\n    permit:\n" + strings.Join(lines, "\n") + "\n"})
	t.Log("a file cannot be used, so nothing is deleted")
	d = a.step(map[string]string{"apps/named/app.yaml": "", "apps/renamed/app.yaml": "", "apps/moves/app.yaml": appOf("moves", "placment: {}")})
	if got := causes(d); got != "incomplete 1" {
		t.Errorf("held: %s", got)
	}
	a.release, a.releaseApp = held(d), "named"
	t.Log("it is mended")
	a.step(map[string]string{"apps/moves/app.yaml": appOf("moves", "failover: {gate: None}, placement: {clusterSelector: {matchLabels: {region: west}}}")})
	t.Log("the cluster is drained by force")
	d = a.step(map[string]string{"fleet.yaml": "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {drain: [{clusterSelector: {matchLabels: {region: east}}, force: true}]}\n"})
	if got := causes(d); got != "" {
		t.Errorf("held: %s", got)
	}
}

func appOf(name, spec string) string {
	return fmt.Sprintf("apiVersion: holdfast.dev/v1alpha1\nkind: App\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}

func listOf(from, to int, more ...string) string {
	for i := from; i < to; i++ {
		more = append(more, fmt.Sprintf("c%02d.yaml", i))
	}
	return "resources: [" + strings.Join(more, ", ") + "]\n"
}

// causes says what the preview of the cluster says is held, and why.
func causes(d *preview.Diff) string {
	n := map[preview.Cause]int{}
	for i := range d.Clusters {
		for _, h := range d.Clusters[i].Holds {
			n[h.Cause] += len(h.Objects)
		}
	}
	var texts []string
	for _, cause := range slices.Sorted(maps.Keys(n)) {
		texts = append(texts, fmt.Sprintf("%s %d", cause, n[cause]))
	}
	return strings.Join(texts, ", ")
}

// held are the names of the objects that the preview says are held.
func held(d *preview.Diff) (names []string) {
	for i := range d.Clusters {
		for _, h := range d.Clusters[i].Holds {
			for _, id := range h.Objects {
				names = append(names, render.Name(id))
			}
		}
	}
	return names
}

// agreement is a repository, and a cluster with its agent.
type agreement struct {
	t       *testing.T
	repo    *gittest.Repo
	config  string
	clients *kube.Clients
	url     string
	head    string
	live    map[string]bool // what is expected on the cluster
	held    map[string]bool // apps of which deletions are held
	// release are objects of an app that were held, and that the next commit releases.
	release    []string
	releaseApp string
}

func newAgreement(t *testing.T, kubeconfig string) *agreement {
	t.Helper()
	repo, err := gittest.InitRepo(filepath.Join(t.TempDir(), "fleet.git"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := kube.Config(kubeconfig, "holdfast/test")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kube.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return &agreement{t: t, repo: repo, config: kubeconfig, clients: clients, held: map[string]bool{}}
}

func (a *agreement) commit(files map[string]string) {
	a.t.Helper()
	var changes []gittest.Change
	for path, content := range files {
		if content == "" {
			if _, err := a.repo.Git("cat-file", "-e", "main:"+path); err == nil {
				changes = append(changes, gittest.Delete(path))
			}
			continue
		}
		changes = append(changes, gittest.Write(path, content))
	}
	var err error
	if a.head, err = a.repo.Commit(changes...); err != nil {
		a.t.Fatal(err)
	}
}

// start runs the agent until the test ends.
func (a *agreement) start(cluster string) {
	a.t.Helper()
	address := make(addressLog, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	options := agent.Options{
		Cluster: cluster, Repo: "file://" + a.repo.Dir, Branch: "main", Path: ".", Kubeconfig: a.config, Poll: time.Second,
		DataDir: a.t.TempDir(), Namespace: kube.DefaultInstance, Listen: "127.0.0.1:0", Version: "test", StatusRepo: agent.NoStatusRepo, Log: zerolog.New(address),
	}
	go func() { done <- agent.Run(ctx, options) }()
	a.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Errorf("agent: %v", err)
		}
	})
	select {
	case at := <-address:
		a.url = "http://" + at + "/api/v1/status"
	case <-time.After(time.Minute):
		a.t.Fatal("the agent does not serve HTTP")
	}
}

// addressLog is told by an agent's log where it serves HTTP.
type addressLog chan string

func (l addressLog) Write(line []byte) (int, error) {
	var said struct{ Message, Address string }
	if err := json.Unmarshal(line, &said); err == nil && said.Message == "serving HTTP" {
		l <- said.Address
	}
	return len(line), nil
}

// declared are the objects that head declares for the cluster.
func (a *agreement) declared() map[string]bool {
	a.t.Helper()
	empty := map[string]bool{}
	d := a.compare(a.emptied(), a.head)
	return apply(d, empty)
}

// emptied is a commit with the cluster and no apps.
func (a *agreement) emptied() string {
	a.t.Helper()
	id, err := a.repo.Commit(gittest.On("empty"), gittest.Orphan(), gittest.Write("clusters/east/cluster.yaml", "apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: east, labels: {region: east}}\n"))
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

func (a *agreement) compare(base, head string) *preview.Diff {
	a.t.Helper()
	var sides [2]preview.Commit
	for i, rev := range []string{base, head} {
		snap, err := gitsource.OpenLocal(a.repo.Dir, rev)
		if err != nil {
			a.t.Fatal(err)
		}
		sides[i] = preview.Commit{ID: snap.Commit, Tree: snap}
	}
	d, err := preview.Compare(a.t.Context(), sides[0], sides[1], preview.Options{Cluster: "east", Now: time.Now()})
	if err != nil {
		a.t.Fatal(err)
	}
	return d
}

// apply does to what is live what the preview says.
func apply(d *preview.Diff, live map[string]bool) map[string]bool {
	after := maps.Clone(live)
	for i := range d.Clusters {
		for _, app := range d.Clusters[i].Apps {
			for _, o := range app.Objects {
				switch {
				case o.Action == preview.Create:
					after[render.Name(o.ID)] = true
				case o.Action == preview.Delete && o.Held == "" && o.Note == "":
					delete(after, render.Name(o.ID))
				}
			}
		}
	}
	return after
}

// step commits, and expects of the agent what the preview says.
func (a *agreement) step(files map[string]string) *preview.Diff {
	a.t.Helper()
	before := a.head
	a.commit(files)
	d := a.compare(before, a.head)
	want := apply(d, a.live)
	for _, name := range a.release {
		delete(want, name)
	}
	a.release = nil
	delete(a.held, a.releaseApp)
	for i := range d.Clusters {
		for _, h := range d.Clusters[i].Holds {
			a.held[h.App] = true
		}
	}
	a.settled(want)
	return d
}

// settled waits until the agent has seen head, holds the deletions that the preview says it holds and no others, and
// what is live is what is left.
func (a *agreement) settled(want map[string]bool) {
	a.t.Helper()
	a.live = want
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // a poll of real servers
		var r status.Report
		err := a.get(&r)
		why := fmt.Sprintf("%v, commit %s of %s", err, r.Commit, a.head)
		if err == nil && r.Commit == a.head {
			if why = cmp.Diff(slices.Sorted(maps.Keys(a.held)), holding(&r)); why == "" {
				why = cmp.Diff(want, a.objects())
			}
		}
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("(-foretold +agent):\n%s", why)
		}
	}
}

// holding are the apps of which the agent says that it holds deletions.
func holding(r *status.Report) (apps []string) {
	for _, app := range r.Apps {
		if slices.ContainsFunc(app.Held, func(h status.Held) bool { return h.Gate == status.GatePrune }) {
			apps = append(apps, app.Name)
		}
	}
	return apps
}

func (a *agreement) get(r *status.Report) error {
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(r)
}

// objects are the names of what is live of the fleet, without what is being deleted.
func (a *agreement) objects() map[string]bool {
	a.t.Helper()
	names := map[string]bool{}
	for _, kind := range []schema.GroupVersionKind{{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "PersistentVolumeClaim"}} {
		res, err := a.clients.Mapper.Resolve(a.t.Context(), kind)
		if err != nil {
			a.t.Fatal(err)
		}
		list, err := a.clients.Dynamic.Resource(res.GVR()).Namespace("default").List(a.t.Context(), metav1.ListOptions{LabelSelector: render.LabelInstance})
		if err != nil {
			a.t.Fatal(err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; o.GetDeletionTimestamp() == nil {
				names[fmt.Sprintf("%s/%s/%s", kind.Kind, o.GetNamespace(), o.GetName())] = true
			}
		}
	}
	return names
}
