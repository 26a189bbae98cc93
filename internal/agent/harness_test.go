package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

var bare = localclustertest.Shared(localcluster.Options{Bare: true})

func TestMain(m *testing.M) {
	if isAgentProcess() {
		os.Exit(runAgentProcess())
	}
	os.Exit(bare.Run(m))
}

// patience bounds a test that hangs; nothing is measured with it. It is long because the tests share two cores with
// API servers and the race detector: one that applies thousands of objects starves the others.
const patience = 3 * time.Minute

// env is one fleet repository, one cluster and one agent, apart from every other test's: its
// instance, its namespace and its apps have names of their own. In the files that a test writes,
// NS stands for the namespace and APP for the (first) app's name.
type env struct {
	t        *testing.T
	cluster  *localcluster.Cluster
	server   *gittest.Server
	repo     *gittest.Repo
	clients  *kube.Clients // as an administrator, not the agent
	id       string
	ns       string
	instance string
	dataDir  string
	began    localcluster.Mark // before the first request
	// options changes what the agent is started with.
	options func(*agent.Options)

	stop func()
}

// envs counts the environments, which share a cluster.
var envs atomic.Uint32

// newEnv starts with a fleet of one cluster, c1, with the label env: prod, and no app.
func newEnv(t *testing.T, cluster *localcluster.Cluster) *env {
	t.Helper()
	server, err := gittest.Start(gittest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	id := fmt.Sprintf("t%06d", envs.Add(1))
	e := &env{t: t, cluster: cluster, server: server, id: id, ns: id + "-ns", instance: id + "-holdfast", dataDir: t.TempDir()}
	if e.repo, err = server.NewRepo("fleet"); err != nil {
		t.Fatal(err)
	}
	cfg, err := kube.Config(cluster.Kubeconfig(), "test/"+id)
	if err != nil {
		t.Fatal(err)
	}
	if e.clients, err = kube.New(cfg, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	e.began = e.mark()
	e.create("v1", "Namespace", "", e.ns, nil)
	e.commit(map[string]string{"clusters/c1/cluster.yaml": clusterYAML("c1", "env: prod")})
	return e
}

func clusterYAML(name, labels string) string {
	return fmt.Sprintf("apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: %s, labels: {%s}}\n", name, labels)
}

func appYAML(spec string) string {
	s := "apiVersion: holdfast.dev/v1alpha1\nkind: App\nmetadata: {name: APP}\n"
	if spec != "" {
		s += "spec: {" + spec + "}\n"
	}
	return s
}

// configMap is a ConfigMap with one key.
func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: NS}\ndata: {key: %q}\n", name, value)
}

func kustomization(resources ...string) string {
	return "resources: [" + strings.Join(resources, ", ") + "]\n"
}

func (e *env) fill(s string) string {
	return strings.NewReplacer("NS", e.ns, "APP", e.id, "INSTANCE", e.instance).Replace(s)
}

// commit writes files (an empty content deletes) and returns the commit.
func (e *env) commit(files map[string]string) string {
	e.t.Helper()
	var changes []gittest.Change
	for path, content := range files {
		if content == "" {
			changes = append(changes, gittest.Delete(path))
			continue
		}
		changes = append(changes, gittest.Write(path, e.fill(content)))
	}
	sha, err := e.repo.Commit(changes...)
	if err != nil {
		e.t.Fatal(err)
	}
	return sha
}

// app commits an app in apps/<dir> with manifests by file name, all listed in its kustomization.
func (e *env) app(spec string, manifests map[string]string) string {
	e.t.Helper()
	return e.commit(appFiles("apps/APP", appYAML(spec), manifests))
}

func appFiles(dir, app string, manifests map[string]string) map[string]string {
	files := map[string]string{dir + "/app.yaml": app}
	var names []string
	for name, content := range manifests {
		files[dir+"/"+name] = content
		names = append(names, name)
	}
	files[dir+"/kustomization.yaml"] = kustomization(names...)
	return files
}

// agentOptions is what the agent is started with.
func (e *env) agentOptions() agent.Options {
	e.t.Helper()
	o := agent.Options{
		Cluster: "c1", Repo: e.repo.URL(), Branch: "main", Path: ".", Kubeconfig: e.cluster.Kubeconfig(),
		Poll: time.Second, DataDir: e.dataDir, Namespace: e.instance, Listen: "", Version: e.id, StatusRepo: agent.NoStatusRepo,
		Log: zerolog.New(zerolog.NewTestWriter(e.t)).Level(zerolog.InfoLevel),
	}
	if e.options != nil {
		e.options(&o)
	}
	return o
}

// start runs the agent until stop or the end of the test.
func (e *env) start() {
	e.t.Helper()
	o := e.agentOptions()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx, o) }()
	stopped := false
	e.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			e.t.Errorf("agent: %v", err)
		}
	}
	e.t.Cleanup(e.stop)
}

// eventually waits until cond returns "", and fails with what it said last.
func (e *env) eventually(what string, cond func() string) {
	e.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		why := cond()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("%s: %s", what, why)
		}
		time.Sleep(50 * time.Millisecond) // a poll of a real server, until the deadline
	}
}

// answer asks the API server until it answers, be it with an error, which it returns: a connection that breaks, or a server
// that is started again, says nothing of what is asked for.
func (e *env) answer(ask func() error) (err error) {
	e.t.Helper()
	e.eventually("the API server answers", func() string {
		if err = ask(); err == nil || kube.IsVerdict(err) {
			return ""
		}
		return err.Error()
	})
	return err
}

func (e *env) resource(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool) {
	e.t.Helper()
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		e.t.Fatal(err)
	}
	var r kube.Resource
	e.eventually(kind+" is served", func() string {
		if r, err = e.clients.Mapper.Resolve(context.Background(), gv.WithKind(kind)); err != nil {
			return err.Error()
		}
		return ""
	})
	return e.clients.Dynamic.Resource(r.GVR()), r.Namespaced
}

func (e *env) in(apiVersion, kind, ns string) dynamic.ResourceInterface {
	r, namespaced := e.resource(apiVersion, kind)
	if namespaced {
		return r.Namespace(ns)
	}
	return r
}

// get reads a live object of the test's namespace (or a cluster-scoped one); nil if there is none.
func (e *env) get(apiVersion, kind, name string) *unstructured.Unstructured {
	e.t.Helper()
	var u *unstructured.Unstructured
	err := e.answer(func() (err error) {
		u, err = e.in(apiVersion, kind, e.ns).Get(context.Background(), e.fill(name), metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return u
}

// value reads a field of a live object as text; "(absent)" if the object is not there.
func (e *env) value(apiVersion, kind, name string, path ...string) string {
	e.t.Helper()
	u := e.get(apiVersion, kind, name)
	if u == nil {
		return "(absent)"
	}
	v, _, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if err != nil {
		e.t.Fatal(err)
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// create creates an object as an administrator would.
func (e *env) create(apiVersion, kind, ns, name string, content map[string]any) {
	e.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{}}
	for k, v := range content {
		u.Object[k] = v
	}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetName(name)
	if ns != "" {
		u.SetNamespace(ns)
	}
	if _, err := e.in(apiVersion, kind, ns).Create(context.Background(), u, metav1.CreateOptions{FieldManager: "admin"}); err != nil {
		e.t.Fatal(err)
	}
}

// patch changes a live object with a merge patch, as the field manager.
func (e *env) patch(manager, apiVersion, kind, name, patch string) {
	e.t.Helper()
	_, err := e.in(apiVersion, kind, e.ns).Patch(context.Background(), e.fill(name), types.MergePatchType, []byte(e.fill(patch)), metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) delete(apiVersion, kind, name string) {
	e.t.Helper()
	if err := e.in(apiVersion, kind, e.ns).Delete(context.Background(), e.fill(name), metav1.DeleteOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// appStatus is what a test reads of an AppStatus.
type appStatus struct {
	Status struct {
		Revision   string
		Objects    int
		Replicas   status.Replicas
		Conditions []metav1.Condition
		Drift      struct{ Corrected int }
		Held       []struct{ Gate, Reason string }
		Errors     []struct{ Object, Message string }
	}
}

func (s *appStatus) condition(kind string) metav1.Condition {
	for _, c := range s.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

func (s *appStatus) ready() bool {
	return s != nil && s.condition("Ready").Status == metav1.ConditionTrue
}

// errors joins the errors into one text.
func (s *appStatus) errors() string {
	var b strings.Builder
	for _, x := range s.Status.Errors {
		fmt.Fprintf(&b, "%s: %s\n", x.Object, x.Message)
	}
	return b.String()
}

// held joins the held gates into one text.
func (s *appStatus) held() string {
	var b strings.Builder
	for _, x := range s.Status.Held {
		fmt.Fprintf(&b, "%s: %s\n", x.Gate, x.Reason)
	}
	return b.String()
}

// status reads an app's AppStatus, nil if there is none. "" is the test's first app.
func (e *env) status(app string) *appStatus {
	e.t.Helper()
	if app == "" {
		app = e.id
	}
	var u *unstructured.Unstructured
	err := e.answer(func() (err error) {
		u, err = e.clients.Dynamic.Resource(status.GVR).Get(context.Background(), app, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		e.t.Fatal(err)
	}
	b, err := u.MarshalJSON()
	if err != nil {
		e.t.Fatal(err)
	}
	var s appStatus
	if err := json.Unmarshal(b, &s); err != nil {
		e.t.Fatal(err)
	}
	return &s
}

// waitReady waits until the first app is Ready at a revision ("" is any).
func (e *env) waitReady(revision string) {
	e.t.Helper()
	e.eventually("AppStatus Ready", func() string {
		s := e.status("")
		switch {
		case s == nil:
			return "there is no AppStatus"
		case !s.ready():
			return s.condition("Ready").Message
		case revision != "" && s.Status.Revision != revision:
			return fmt.Sprintf("revision is %s, want %s", s.Status.Revision, revision)
		}
		return ""
	})
}

// waitValue waits until a live field has a value.
func (e *env) waitValue(want, apiVersion, kind, name string, path ...string) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("%s %s %v", kind, name, path), func() string {
		if got := e.value(apiVersion, kind, name, path...); got != want {
			return fmt.Sprintf("is %q, want %q", got, want)
		}
		return ""
	})
}

// waitGone waits until an object does not exist.
func (e *env) waitGone(apiVersion, kind, name string) {
	e.t.Helper()
	e.waitValue("(absent)", apiVersion, kind, name)
}

// inventory reads which objects the agent's inventory lists, as cli-utils keys.
func (e *env) inventory() map[string]string {
	e.t.Helper()
	var list *corev1.ConfigMapList
	if err := e.answer(func() (err error) {
		list, err = e.clients.Kubernetes.CoreV1().ConfigMaps(e.instance).List(context.Background(), metav1.ListOptions{LabelSelector: "holdfast.dev/inventory"})
		return err
	}); err != nil {
		e.t.Fatal(err)
	}
	all := map[string]string{}
	for i := range list.Items {
		if list.Items[i].Name == "holdfast-inventory-apps" {
			continue
		}
		for k, v := range list.Items[i].Data {
			all[k] = v
		}
	}
	return all
}

// requests lists the agent's own requests since the mark, less those that are not counted: its
// bookkeeping (AppStatus, Events, Leases) and watches.
func (e *env) requests(since localcluster.Mark) []string {
	e.t.Helper()
	requests, _ := e.sent(since, time.Time{})
	return requests
}

// sent lists the agent's own requests since the mark but watches, and apart from them what it wrote of AppStatus and Events.
// What the server received before the time is not among them: a request that its agent gave up is recorded when it ends.
func (e *env) sent(since localcluster.Mark, after time.Time) (requests, told []string) {
	e.t.Helper()
	all, err := e.cluster.Requests(since)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range all {
		if r.UserAgent != "holdfast/"+e.id || r.Verb == "watch" || r.Time.Before(after) {
			continue
		}
		text := fmt.Sprintf("%s %s %s/%s", r.Verb, r.Resource.Resource, r.Namespace, r.Name)
		switch r.Resource.Resource {
		case "appstatuses", "events":
			if r.Verb != "get" && r.Verb != "list" {
				told = append(told, text)
			}
		case "leases":
		default:
			requests = append(requests, text)
		}
	}
	return requests, told
}

func (e *env) mark() localcluster.Mark {
	e.t.Helper()
	m, err := e.cluster.Mark()
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}
