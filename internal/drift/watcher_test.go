package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

const manager = "holdfast"

var shared = localclustertest.Shared(localcluster.Options{Name: "drift", Bare: true})

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// bench is a Watcher on the shared cluster, with an instance of its own.
type bench struct {
	t        *testing.T
	cluster  *localcluster.Cluster
	clients  *kube.Clients
	watcher  *Watcher
	instance string
	stop     func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	c := shared.Cluster(t)
	return newBenchOn(t, c, c.Kubeconfig())
}

func newBenchOn(t *testing.T, c *localcluster.Cluster, kubeconfig string) *bench {
	t.Helper()
	cfg, err := kube.Config(kubeconfig, "holdfast/"+strings.ToLower(t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kube.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, cluster: c, clients: clients, instance: strings.ToLower(t.Name())}
	b.watcher = NewWatcher(Options{
		Dynamic: clients.Dynamic, Metadata: clients.Metadata, Instance: b.instance, Manager: manager, Log: zerolog.Nop(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.watcher.Run(ctx) }()
	b.stop = func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run ended with %v", err)
			}
			done <- err
		case <-time.After(10 * time.Second):
			t.Error("Run does not return")
		}
	}
	t.Cleanup(b.stop)
	return b
}

// next receives events until one of that kind, about that name if one is given, arrives.
func (b *bench) next(kind EventKind, name string) Event {
	b.t.Helper()
	var seen []string
	deadline := time.After(40 * time.Second)
	for {
		select {
		case e := <-b.watcher.Events():
			if e.Kind == kind && (name == "" || e.Live.ID.Name == name) {
				return e
			}
			seen = append(seen, fmt.Sprintf("%s %s %s %v", e.Kind, e.Resource.Plural, e.Live.ID.Name, e.Err))
		case <-deadline:
			b.t.Fatalf("no event %s %s; there were %q", kind, name, seen)
		}
	}
}

// quiet fails if there is an event although a later one of another object has arrived already.
func (b *bench) quiet() {
	b.t.Helper()
	select {
	case e := <-b.watcher.Events():
		b.t.Errorf("unexpected %s of %s %s: %v", e.Kind, e.Resource.Plural, e.Live.ID.Name, e.Err)
	default:
	}
}

func (b *bench) resource(apiVersion, kind string) kube.Resource {
	b.t.Helper()
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := b.clients.Mapper.Resolve(context.Background(), gv.WithKind(kind))
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) of(u *unstructured.Unstructured) dynamic.ResourceInterface {
	r := b.resource(u.GetAPIVersion(), u.GetKind())
	if !r.Namespaced {
		return b.clients.Dynamic.Resource(r.GVR())
	}
	return b.clients.Dynamic.Resource(r.GVR()).Namespace("default")
}

// apply applies YAML with our label.
func (b *bench) apply(text string) *unstructured.Unstructured {
	b.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		b.t.Fatal(err)
	}
	u.SetLabels(map[string]string{"holdfast.dev/instance": b.instance})
	body, err := json.Marshal(u.Object)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := b.of(u).Patch(context.Background(), u.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: manager, Force: ptr.To(true)})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bench) merge(u *unstructured.Unstructured, body string) {
	b.t.Helper()
	if _, err := b.of(u).Patch(context.Background(), u.GetName(), types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "other"}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) delete(u *unstructured.Unstructured) {
	b.t.Helper()
	if err := b.of(u).Delete(context.Background(), u.GetName(), metav1.DeleteOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func configMap(name string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {a: b}}", name)
}

func service(name string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {ports: [{port: 80}]}}", name)
}

func TestWatch(t *testing.T) {
	b := newBench(t)
	b.apply(configMap("w1"))
	svc := b.apply(service("w2"))
	before, err := b.cluster.Mark()
	if err != nil {
		t.Fatal(err)
	}
	maps, services := b.resource("v1", "ConfigMap"), b.resource("v1", "Service")
	b.watcher.Watch([]kube.Resource{maps, services})
	got := map[string]Event{}
	for range 2 {
		e := b.next(Synced, "")
		got[e.Resource.Plural] = e
	}
	if e := got["configmaps"]; len(e.Lives) != 1 || e.Lives[0].ID.Name != "w1" || e.Lives[0].ID.GroupKind.Kind != "ConfigMap" || e.Lives[0].Fingerprint == "" || e.Lives[0].Status != "Current" {
		t.Errorf("config maps: %+v", e.Lives)
	}
	if e := got["services"]; len(e.Lives) != 1 || !strings.Contains(e.Lives[0].Fingerprint, "-") {
		t.Errorf("services: %+v", e.Lives)
	}

	created := b.apply(configMap("w3"))
	if e := b.next(Changed, "w3"); e.Live.UID != created.GetUID() || e.Live.Instance != b.instance {
		t.Errorf("created: %+v", e.Live)
	}
	b.merge(svc, `{"spec":{"sessionAffinity":"ClientIP"}}`)
	if e := b.next(Changed, "w2"); e.Live.Fingerprint != got["services"].Lives[0].Fingerprint {
		t.Errorf("a field that is not ours changed %s into %s", got["services"].Lives[0].Fingerprint, e.Live.Fingerprint)
	}
	b.merge(created, `{"metadata":{"labels":{"holdfast.dev/instance":null}}}`)
	b.next(Deleted, "w3")
	b.delete(svc)
	b.next(Deleted, "w2")
	b.quiet()

	requests, err := b.cluster.Requests(before)
	if err != nil {
		t.Fatal(err)
	}
	reads := map[string]int{}
	for _, r := range requests {
		if r.UserAgent == "holdfast/testwatch" && (r.Verb == "list" || r.Verb == "watch") {
			reads[r.Verb+" "+r.Resource.String()]++
		}
	}
	for what, n := range reads {
		if n > 1 || strings.HasPrefix(what, "list") && reads["watch"+strings.TrimPrefix(what, "list")] == 0 {
			t.Errorf("%d times %s", n, what)
		}
	}
	if len(reads) > 2 {
		t.Errorf("starting two watches cost %v", reads)
	}

	// Fewer resources: what goes on is not disturbed, what is stopped is silent.
	b.watcher.Watch([]kube.Resource{maps})
	last := b.apply(configMap("w4"))
	b.next(Changed, "w4")
	b.delete(last)
	b.next(Deleted, "w4")
	// It comes back with a list.
	b.watcher.Watch([]kube.Resource{maps, services})
	if e := b.next(Synced, ""); e.Resource.Plural != "services" || len(e.Lives) != 0 {
		t.Errorf("back again: %+v", e)
	}
}

func TestContentsOfSecretsAreNotRead(t *testing.T) {
	b := newBench(t)
	b.apply("{apiVersion: v1, kind: Secret, metadata: {name: s1}, data: {password: aHVudGVyMg==}}")
	b.watcher.Watch([]kube.Resource{b.resource("v1", "Secret")})
	e := b.next(Synced, "")
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "aHVudGVyMg") || strings.Contains(e.Lives[0].Fingerprint, "-") {
		t.Error("the password is in the event, or its value in the fingerprint")
	}
}

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func TestDefinitionComesAndGoes(t *testing.T) {
	b := newBench(t)
	crd := b.apply(widgets)
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	start := time.Now()
	r, err := b.clients.Mapper.Resolve(ctx, gvk)
	for err != nil && ctx.Err() == nil {
		<-time.After(20 * time.Millisecond)
		r, err = b.clients.Mapper.Resolve(ctx, gvk)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a new kind was found after %v", time.Since(start))
	b.watcher.Watch([]kube.Resource{r})
	if e := b.next(Synced, ""); len(e.Lives) != 0 {
		t.Errorf("got %+v", e.Lives)
	}
	b.apply("{apiVersion: example.com/v1, kind: Widget, metadata: {name: one}, spec: {size: 1}}")
	b.next(Changed, "one")

	b.delete(crd)
	e := b.next(Failed, "")
	if !apierrors.IsNotFound(e.Err) {
		t.Errorf("failed with %v", e.Err)
	}
	before, err := b.cluster.Mark()
	if err != nil {
		t.Fatal(err)
	}
	failedAt := time.Now()

	b.apply(widgets)
	if e := b.next(Synced, ""); len(e.Lives) != 0 {
		t.Errorf("got %+v", e.Lives)
	}
	if e := b.next(Recovered, ""); e.Since.IsZero() {
		t.Error("nothing is said of how long it lasted")
	}
	requests, err := b.cluster.Requests(before)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, q := range requests {
		if q.Resource.Resource == "widgets" {
			n++
		}
	}
	if took := time.Since(failedAt); n > 4+2*int(took/time.Second) {
		t.Errorf("%d requests in %v while the definition was gone", n, took)
	}
}

func TestForbidden(t *testing.T) {
	c := shared.Cluster(t)
	config, err := c.KubeconfigFor("nobody")
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, c, config)
	b.watcher.Watch([]kube.Resource{{GroupVersionKind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Plural: "deployments", Namespaced: true}})
	e := b.next(Failed, "")
	if !apierrors.IsForbidden(e.Err) {
		t.Fatalf("failed with %v", e.Err)
	}
	if got := kube.Explain(e.Err); !strings.Contains(got, `lacks {apiGroups: ["apps"], resources: ["deployments"]`) {
		t.Errorf("explained as %q", got)
	}
}

// The API server goes away and comes back: the failure is told once, and what changed meanwhile is seen.
func TestAPIServerRestarts(t *testing.T) {
	c := localclustertest.Start(t, localcluster.Options{Name: "restarts", Bare: true})
	b := newBenchOn(t, c, c.Kubeconfig())
	one := b.apply(configMap("one"))
	b.apply(configMap("two"))
	r := b.resource("v1", "ConfigMap")
	b.watcher.Watch([]kube.Resource{r})
	if e := b.next(Synced, ""); len(e.Lives) != 2 {
		t.Fatalf("got %+v", e.Lives)
	}
	// Killed, since a graceful stop waits for the watches to drain.
	if err := c.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	if e := b.next(Failed, ""); !strings.Contains(kube.Explain(e.Err), "API server") {
		t.Errorf("explained as %q", kube.Explain(e.Err))
	}
	if err := c.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Whether the watch resumes or lists again is the server's choice.
	b.delete(one)
	recovered, gone := false, false
	deadline := time.After(60 * time.Second)
	for !recovered || !gone {
		select {
		case e := <-b.watcher.Events():
			switch {
			case e.Kind == Recovered:
				recovered = true
			case e.Kind == Deleted && e.Live.ID.Name == "one":
				gone = true
			case e.Kind == Synced:
				gone = len(e.Lives) == 1
			}
		case <-deadline:
			t.Fatalf("recovered %v, deletion seen %v", recovered, gone)
		}
	}
}

func TestLargeListIsOneEvent(t *testing.T) {
	b := newBench(t)
	const n = 600 // more than one page
	for i := range n {
		b.apply(configMap(fmt.Sprintf("large-%d", i)))
	}
	b.watcher.Watch([]kube.Resource{b.resource("v1", "ConfigMap")})
	e := b.next(Synced, "")
	if len(e.Lives) != n {
		t.Fatalf("got %d objects, want %d", len(e.Lives), n)
	}
	for _, l := range e.Lives {
		if l.Instance != b.instance || l.Fingerprint == "" {
			t.Fatalf("got %+v", l)
		}
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	b := newBench(t)
	before := runtime.NumGoroutine()
	b.watcher.Watch([]kube.Resource{b.resource("v1", "ConfigMap"), b.resource("apps/v1", "Deployment")})
	b.next(Synced, "")
	b.next(Synced, "")
	b.stop()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before+2 && time.Now().Before(deadline) {
		<-time.After(50 * time.Millisecond) // client-go ends its connections' goroutines in its own time
	}
	if now := runtime.NumGoroutine(); now > before+2 {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after:\n%s", before, now, buf[:runtime.Stack(buf, true)])
	}
}
