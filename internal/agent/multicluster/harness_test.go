// Package multicluster_test runs several agents on several real control planes against one real Git server: what the
// agents owe each other.
package multicluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

// The clusters of all tests: each test has namespaces, an app and agents of its own in them.
var clusters = map[string]*localclustertest.SharedCluster{
	"a": localclustertest.Shared(localcluster.Options{Name: "a"}),
	"b": localclustertest.Shared(localcluster.Options{Name: "b"}),
	"c": localclustertest.Shared(localcluster.Options{Name: "c"}),
}

func TestMain(m *testing.M) {
	if isAgentProcess() {
		os.Exit(runAgentProcess())
	}
	os.Exit(localclustertest.Run(m, slices.Collect(maps.Values(clusters))...))
}

// patience bounds a test that hangs; nothing is measured with it.
const patience = 3 * time.Minute

// fleet is one fleet repository, its Git server, and an agent in each of its clusters.
type fleet struct {
	t        *testing.T
	server   *gittest.Server
	repo     *gittest.Repo
	id, ns   string
	instance string
	sites    map[string]*site
	names    []string
	// options changes what an agent is started with.
	options func(cluster string, o *agent.Options)
}

// site is one cluster of a fleet.
type site struct {
	clients *kube.Clients // as an administrator
	cluster *localcluster.Cluster
	dataDir string
	stop    func()
	process *process
}

// fleets counts the fleets, which share their clusters.
var fleets atomic.Uint32

// newFleet makes a fleet of these clusters, which have the labels name and env: prod, and no app yet.
func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	server, err := gittest.Start(gittest.Options{})
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	id := fmt.Sprintf("m%06d", fleets.Add(1))
	f := &fleet{t: t, server: server, id: id, ns: id + "-ns", instance: id + "-holdfast", names: names, sites: map[string]*site{}}
	f.repo, err = server.NewRepo("fleet")
	must(t, err)
	files := map[string]string{}
	for _, name := range names {
		s := &site{cluster: clusters[name].Cluster(t), dataDir: t.TempDir(), stop: func() {}}
		f.sites[name] = s
		cfg, err := kube.Config(s.cluster.Kubeconfig(), "test/"+id)
		must(t, err)
		s.clients, err = kube.New(cfg, zerolog.Nop())
		must(t, err)
		_, err = s.clients.Kubernetes.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.ns}}, metav1.CreateOptions{})
		must(t, err)
		maps.Copy(files, clusterFile(name, ""))
	}
	f.commit(files)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const head = "apiVersion: holdfast.dev/v1alpha1\n"

// clusterFile is the file of a cluster with a spec in flow style.
func clusterFile(name, spec string) map[string]string {
	return map[string]string{"clusters/" + name + "/cluster.yaml": head + "kind: Cluster\nmetadata: {name: " + name + ", labels: {name: " + name + ", env: prod}}\nspec: {" + spec + "}\n"}
}

// settings is a fleet.yaml with a spec in flow style.
func settings(spec string) map[string]string {
	return map[string]string{"fleet.yaml": head + "kind: Fleet\nmetadata: {name: f}\nspec: {" + spec + "}\n"}
}

func drain(names ...string) map[string]string {
	return settings("drain: [" + strings.Join(drains(names, ""), ", ") + "]")
}

func forceDrain(names ...string) map[string]string {
	return settings("drain: [" + strings.Join(drains(names, ", force: true"), ", ") + "]")
}

func drains(names []string, more string) (lines []string) {
	for _, n := range names {
		lines = append(lines, "{clusterSelector: {matchLabels: {name: "+n+"}}"+more+"}")
	}
	return lines
}

// app is an app with a Deployment web, whose Pods run the version. spec is in flow style.
func (f *fleet) app(spec, version string) map[string]string {
	return map[string]string{
		"apps/web/app.yaml":           head + "kind: App\nmetadata: {name: " + f.id + "}\nspec: {" + spec + "}\n",
		"apps/web/kustomization.yaml": "resources: [web.yaml]\n",
		"apps/web/web.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: " + f.ns + "}\nspec:\n  selector: {matchLabels: {app: web}}\n" +
			"  template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: web, image: \"web:" + version + "\"}]}}\n",
	}
}

// commit writes files (an empty content deletes) and returns the commit.
func (f *fleet) commit(all ...map[string]string) string {
	f.t.Helper()
	var changes []gittest.Change
	for _, files := range all {
		for path, content := range files {
			if content == "" {
				changes = append(changes, gittest.Delete(path))
				continue
			}
			changes = append(changes, gittest.Write(path, content))
		}
	}
	sha, err := f.repo.Commit(changes...)
	must(f.t, err)
	return sha
}

func (f *fleet) agentOptions(name string) agent.Options {
	s := f.sites[name]
	o := agent.Options{
		Cluster: name, Repo: f.repo.URL(), Branch: "main", Path: ".", Kubeconfig: s.cluster.Kubeconfig(),
		Poll: time.Second, DataDir: s.dataDir, Namespace: f.instance, Version: f.id,
		Log: zerolog.New(zerolog.NewTestWriter(f.t)).With().Timestamp().Logger().Level(zerolog.InfoLevel),
	}
	if f.options != nil {
		f.options(name, &o)
	}
	return o
}

// start runs the agents of these clusters, all if none are named, until stop or the end of the test.
func (f *fleet) start(names ...string) {
	f.t.Helper()
	if len(names) == 0 {
		names = f.names
	}
	for _, name := range names {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		o := f.agentOptions(name)
		go func() { done <- agent.Run(ctx, o) }()
		f.sites[name].stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				f.t.Errorf("agent of %s: %v", name, err)
			}
		})
		f.t.Cleanup(f.sites[name].stop)
	}
}

func (f *fleet) stop(names ...string) {
	for _, name := range names {
		f.sites[name].stop()
	}
}

// eventually waits until cond returns "", and fails with what it said last.
func (f *fleet) eventually(what string, cond func() string) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		why := cond()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: %s", what, why)
		}
		time.Sleep(50 * time.Millisecond) // a poll of real servers, until the deadline
	}
}

// answer asks an API server until it answers, be it with an error, which it returns: a connection that breaks says nothing of
// what is asked for.
func (f *fleet) answer(ask func() error) (err error) {
	f.t.Helper()
	f.eventually("the API server answers", func() string {
		if err = ask(); err == nil || kube.IsVerdict(err) {
			return ""
		}
		return err.Error()
	})
	return err
}

// deployed is what a cluster has of the Deployment web: "web:1 x2, 2 ready"; "" is nothing.
func (f *fleet) deployed(name string) string {
	f.t.Helper()
	var d *appsv1.Deployment
	err := f.answer(func() (err error) {
		d, err = f.sites[name].clients.Kubernetes.AppsV1().Deployments(f.ns).Get(context.Background(), "web", metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return ""
	}
	must(f.t, err)
	return fmt.Sprintf("%s x%d, %d ready", d.Spec.Template.Spec.Containers[0].Image, *d.Spec.Replicas, d.Status.ReadyReplicas)
}

// waitDeployed waits until the clusters have these Deployments, in the order of their names.
func (f *fleet) waitDeployed(want ...string) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("the Deployments are %q", want), func() string {
		var got []string
		for _, name := range f.names {
			got = append(got, f.deployed(name))
		}
		if !slices.Equal(got, want) {
			return fmt.Sprintf("they are %q", got)
		}
		return ""
	})
}

// appStatus is what a test reads of an AppStatus.
type appStatus struct {
	Placement  string
	Proven     string
	Replicas   status.Replicas
	Held       []struct{ Gate, Reason string }
	Errors     []struct{ Object, Message string }
	Conditions []metav1.Condition
}

// status reads the app's AppStatus of a cluster; nil if there is none.
func (f *fleet) status(name string) *appStatus {
	f.t.Helper()
	var u *unstructured.Unstructured
	err := f.answer(func() (err error) {
		u, err = f.sites[name].clients.Dynamic.Resource(status.GVR).Get(context.Background(), f.id, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	must(f.t, err)
	b, err := u.MarshalJSON()
	must(f.t, err)
	var s struct{ Status appStatus }
	must(f.t, json.Unmarshal(b, &s))
	return &s.Status
}

// waitHeld waits until a gate holds the app on a cluster and its reason contains the words.
func (f *fleet) waitHeld(name string, gate status.Gate, words ...string) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("%s is held by %s: %q", name, gate, words), func() string {
		s := f.status(name)
		if s == nil {
			return "there is no AppStatus"
		}
		for _, h := range s.Held {
			if h.Gate == string(gate) && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(h.Reason, w) }) {
				return ""
			}
		}
		return fmt.Sprintf("held: %+v", s.Held)
	})
}

// waitFree waits until no gate holds the app on a cluster.
func (f *fleet) waitFree(name string) {
	f.t.Helper()
	f.eventually(name+" is not held", func() string {
		s := f.status(name)
		if s == nil {
			return "there is no AppStatus"
		}
		if len(s.Held) > 0 {
			return fmt.Sprintf("held: %+v", s.Held)
		}
		return ""
	})
}

// cordon lets no new Pods onto a cluster's nodes, or lets them again.
func (f *fleet) cordon(name string, on bool) {
	f.t.Helper()
	nodes := f.sites[name].clients.Kubernetes.CoreV1().Nodes()
	list, err := nodes.List(context.Background(), metav1.ListOptions{})
	must(f.t, err)
	for i := range list.Items {
		_, err := nodes.Patch(context.Background(), list.Items[i].Name, types.MergePatchType, []byte(fmt.Sprintf(`{"spec":{"unschedulable":%v}}`, on)), metav1.PatchOptions{})
		must(f.t, err)
	}
}

// watched is what a sampler has seen of the sum over all clusters.
type watched struct {
	Least, Most, Samples int
	// At is what the clusters had when there was least, or most.
	LeastAt, MostAt []int
}

// sample reads the sum of count over all clusters again and again, until the returned function is called. A
// sample counts if two readings in a row are the same: then there was a moment between them at which it was true in
// all clusters at once.
func (f *fleet) sample(count func(context.Context, *site) (int, error)) (stop func() watched) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan watched, 1)
	go func() {
		w := watched{Least: 1 << 30}
		var last []int
		for ctx.Err() == nil {
			var now []int
			for _, name := range f.names {
				n, err := count(ctx, f.sites[name])
				if err != nil {
					now = nil
					break
				}
				now = append(now, n)
			}
			if now != nil && slices.Equal(now, last) {
				sum := 0
				for _, n := range now {
					sum += n
				}
				w.Samples++
				if sum < w.Least {
					w.Least, w.LeastAt = sum, now
				}
				if sum > w.Most {
					w.Most, w.MostAt = sum, now
				}
			}
			last = now
		}
		done <- w
	}()
	stop = sync.OnceValue(func() watched { cancel(); return <-done })
	f.t.Cleanup(func() { stop() })
	return stop
}

// ready is the number of ready replicas of the Deployment web.
func (f *fleet) ready(ctx context.Context, s *site) (int, error) {
	d, err := s.clients.Kubernetes.AppsV1().Deployments(f.ns).Get(ctx, "web", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return int(d.Status.ReadyReplicas), nil
}

// running is 1 if a cluster has any Pod of the app, on its way out or not.
func (f *fleet) running(ctx context.Context, s *site) (int, error) {
	pods, err := s.clients.Kubernetes.CoreV1().Pods(f.ns).List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		return 0, err
	}
	return 1, nil
}

// present is 1 if a cluster has the Deployment web, on its way out or not.
func (f *fleet) present(ctx context.Context, s *site) (int, error) {
	_, err := s.clients.Kubernetes.AppsV1().Deployments(f.ns).Get(ctx, "web", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return 1, err
}

// neverBelow fails if fewer were seen than required.
func (f *fleet) neverBelow(required int, w watched) {
	f.t.Helper()
	f.t.Logf("ready replicas in total: least %d %v, most %d %v, in %d samples", w.Least, w.LeastAt, w.Most, w.MostAt, w.Samples)
	if w.Least < required || w.Samples < 5 {
		f.t.Errorf("%d replicas of %d were ready at once in total: %v (%d samples)", w.Least, required, w.LeastAt, w.Samples)
	}
}

// waitReported waits until a cluster's newest report on the status bus says that it has the app.
func (f *fleet) waitReported(name string) {
	f.t.Helper()
	f.waitReport(name, func(r status.Report) bool {
		return slices.ContainsFunc(r.Apps, func(a status.App) bool { return a.Name == f.id && a.Objects > 0 })
	})
}

// waitFollowed waits until a cluster's newest report on the status bus is of a commit: that of an agent before it is not.
func (f *fleet) waitFollowed(name, commit string) {
	f.t.Helper()
	f.waitReport(name, func(r status.Report) bool { return r.Commit == commit })
}

// waitReport waits until a cluster's newest report on the status bus is as wanted, and returns it.
func (f *fleet) waitReport(name string, wanted func(status.Report) bool) (report status.Report) {
	f.t.Helper()
	f.eventually(name+" has reported", func() string {
		text, err := f.repo.Git("show", "refs/holdfast/status/"+name+":status.json")
		if err != nil {
			return err.Error()
		}
		report, err = status.Decode(strings.NewReader(text))
		must(f.t, err)
		if wanted(report) {
			return ""
		}
		return text
	})
	return report
}
