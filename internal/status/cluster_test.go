package status

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

var shared = localclustertest.Shared(localcluster.Options{Bare: true})

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// server is the shared API server, seen by one user.
type server struct {
	cluster *localcluster.Cluster
	config  *rest.Config
	client  dynamic.Interface
}

func connect(t *testing.T, cluster *localcluster.Cluster, kubeconfig string) server {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.UserAgent = "holdfast-test/" + t.Name()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return server{cluster, config, client}
}

// admin connects to the shared API server, which serves AppStatus and has none of them.
func admin(t *testing.T) server {
	t.Helper()
	cluster := shared.Cluster(t)
	s := connect(t, cluster, cluster.Kubeconfig())
	if err := EnsureCRD(t.Context(), s.client, "holdfast"); err != nil {
		t.Fatal(err)
	}
	if err := s.client.Resource(GVR).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// requests returns the test's own requests since mark, as "verb name".
func (s server) requests(t *testing.T, mark localcluster.Mark) []string {
	t.Helper()
	all, err := s.cluster.Requests(mark)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		if r.UserAgent == s.config.UserAgent {
			out = append(out, strings.TrimSpace(r.Verb+" "+r.Name))
		}
	}
	return out
}

func (s server) mark(t *testing.T) localcluster.Mark {
	t.Helper()
	mark, err := s.cluster.Mark()
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

func (s server) get(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := s.client.Resource(GVR).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// writer returns a Writer of an instance that has read what there is.
func (s server) writer(t *testing.T, instance string) *Writer {
	t.Helper()
	w := NewWriter(WriterOptions{Client: s.client, Instance: instance, FieldManager: instance, Log: zerolog.Nop()})
	if _, err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// write says what there is to be, all else is gone.
func write(t *testing.T, w *Writer, states ...AppState) {
	t.Helper()
	all := map[string]AppState{}
	for _, s := range states {
		all[s.Name] = s
	}
	var gone []string
	for app := range w.entries {
		if _, ok := all[app]; !ok {
			gone = append(gone, app)
		}
	}
	w.Update(all, gone)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureCRDLeavesAnExistingOne(t *testing.T) {
	s := admin(t)
	mark := s.mark(t)
	if err := EnsureCRD(t.Context(), s.client, "holdfast"); err != nil {
		t.Fatal(err)
	}
	if got := s.requests(t, mark); !slices.Equal(got, []string{"list"}) {
		t.Errorf("requests %v", got)
	}
}

func TestEnsureCRDNamesTheMissingPermission(t *testing.T) {
	cluster := localclustertest.Start(t, localcluster.Options{Bare: true}) // one without the CRD
	root := connect(t, cluster, cluster.Kubeconfig())
	kubeconfig, err := cluster.KubeconfigFor("agent")
	if err != nil {
		t.Fatal(err)
	}
	agent := connect(t, cluster, kubeconfig)
	err = EnsureCRD(t.Context(), agent.client, "holdfast")
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "list appstatuses.holdfast.dev") {
		t.Errorf("without any permission: %v", err)
	}

	permit(t, root, rbacv1.PolicyRule{APIGroups: []string{"holdfast.dev"}, Resources: []string{"appstatuses"}, Verbs: []string{"*"}})
	eventually(t, func() string {
		err = EnsureCRD(t.Context(), agent.client, "holdfast")
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"create customresourcedefinitions.apiextensions.k8s.io"`) {
			return "without the permission to create the CRD: " + err.Error()
		}
		return ""
	})

	if err := EnsureCRD(t.Context(), root.client, "holdfast"); err != nil {
		t.Fatal(err)
	}
	if err := EnsureCRD(t.Context(), agent.client, "holdfast"); err != nil {
		t.Errorf("somebody else has created it: %v", err)
	}
}

// permit binds a rule to the user "agent".
func permit(t *testing.T, s server, rule rbacv1.PolicyRule) {
	t.Helper()
	client, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Rules: []rbacv1.PolicyRule{rule}}
	if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "agent"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "agent"}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until the problem is "".
func eventually(t *testing.T, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		p := problem()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(p)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Every field that is written must be in the schema, or the API server drops it without a word.
func TestAppStatusKeepsEveryField(t *testing.T) {
	s := admin(t)
	state := storefront()
	state.Errors = broken().Errors
	for range 60 {
		state.Errors = append(state.Errors, broken().Errors[0])
	}
	want := NewAppStatusStatus(&state, nil, time.Now())
	write(t, s.writer(t, "one"), state)
	live := s.get(t, "storefront")

	var got AppStatus
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &got); err != nil {
		t.Fatal(err)
	}
	for i := range want.Conditions {
		want.Conditions[i].LastTransitionTime, got.Status.Conditions[i].LastTransitionTime = metav1.Time{}, metav1.Time{}
	}
	if d := cmp.Diff(want, got.Status, cmp.Comparer(func(a, b metav1.Time) bool { return a.Equal(&b) })); d != "" {
		t.Errorf("(-want +live):\n%s", d)
	}
	if l := live.GetLabels(); l[LabelInstance] != "one" || l[LabelApp] != "storefront" {
		t.Errorf("labels %v", l)
	}
}

func TestAppStatusColumns(t *testing.T) {
	s := admin(t)
	write(t, s.writer(t, "one"), storefront())
	client, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := client.RESTClient().Get().AbsPath("/apis/holdfast.dev/v1alpha1/appstatuses").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	table := &unstructured.Unstructured{}
	if err := table.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	columns, _, err := unstructured.NestedSlice(table.Object, "columnDefinitions")
	if err != nil {
		t.Fatal(err)
	}
	rows, _, err := unstructured.NestedSlice(table.Object, "rows")
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	cells, _, err := unstructured.NestedSlice(rows[0].(map[string]any), "cells")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	var names []string
	for i, c := range columns {
		name, _, _ := unstructured.NestedString(c.(map[string]any), "name")
		names = append(names, strings.ToUpper(name))
		got[name] = cells[i]
	}
	delete(got, "Age")
	if d := cmp.Diff([]string{"NAME", "REVISION", "READY", "OBJECTS", "DRIFT", "AGE", "MESSAGE"}, names); d != "" {
		t.Error(d)
	}
	want := map[string]any{"Name": "storefront", "Revision": "beef0000beef", "Ready": "True", "Objects": int64(42), "Drift": int64(3), "Message": "held by Wave: waits for eu-west-1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWriterSendsOneRequestPerChange(t *testing.T) {
	s := admin(t)
	w := s.writer(t, "one")
	a, b := storefront(), broken()
	mark := s.mark(t)
	write(t, w, a, b)
	if got := slices.Sorted(slices.Values(s.requests(t, mark))); !slices.Equal(got, []string{"patch broken", "patch storefront"}) {
		t.Errorf("to create: %v", got)
	}
	mark = s.mark(t)
	a.Revision, a.Placement = "next", "next"
	write(t, w, a, b)
	if got := s.requests(t, mark); len(got) != 0 {
		t.Errorf("for a commit that touches neither: %v", got)
	}
	a.Changed, a.Held = "next", nil
	write(t, w, a, b)
	if got := s.requests(t, mark); !slices.Equal(got, []string{"patch storefront"}) {
		t.Errorf("for a commit that touches one: %v", got)
	}
	if status, _, err := unstructured.NestedMap(s.get(t, "storefront").Object, "status"); err != nil || status["held"] != nil || status["placement"] != "next" {
		t.Errorf("%v, %v", status, err)
	}

	mark = s.mark(t)
	again := NewWriter(WriterOptions{Client: s.client, Instance: "one", FieldManager: "one", Log: zerolog.Nop()})
	loaded, err := again.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := loaded["storefront"]
	if got.Revision != "next" || got.Content != a.Content || !slices.Equal(got.ProvenContents, a.ProvenContents) || got.Drift.Corrected != 3 || got.Since.IsZero() || got.Ready {
		t.Errorf("loaded %+v", got)
	}
	write(t, again, a, b)
	if got := s.requests(t, mark); !slices.Equal(got, []string{"list"}) {
		t.Errorf("after a restart: %v", got)
	}
	write(t, again, b)
	if got := s.requests(t, mark); !slices.Equal(got, []string{"list", "delete storefront"}) {
		t.Errorf("for an app that is gone: %v", got)
	}
}

func TestWriterTakesBackWhatAPersonEdited(t *testing.T) {
	s := admin(t)
	w := s.writer(t, "one")
	a := storefront()
	write(t, w, a)
	patch := []byte(`{"status":{"revision":"mine","objects":1}}`)
	if _, err := s.client.Resource(GVR).Patch(t.Context(), a.Name, "application/merge-patch+json", patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	a.Changed = "next"
	write(t, w, a)
	if status, _, _ := unstructured.NestedMap(s.get(t, a.Name).Object, "status"); status["revision"] != "next" || status["objects"] != int64(42) {
		t.Errorf("%v", status)
	}
}

func TestWritersOfTwoInstancesKeepApart(t *testing.T) {
	s := admin(t)
	one, two := s.writer(t, "one"), s.writer(t, "two")
	a := storefront()
	write(t, one, a)
	b := a
	b.Changed = "other"
	write(t, two, b)
	write(t, two, b)
	for name, revision := range map[string]string{"storefront": a.Changed, "storefront.two": "other"} {
		if got, _, _ := unstructured.NestedString(s.get(t, name).Object, "status", "revision"); got != revision {
			t.Errorf("%s is at %q, want %q", name, got, revision)
		}
	}
	two = s.writer(t, "two") // finds its own again, under that name
	write(t, two)
	list, err := s.client.Resource(GVR).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].GetName() != "storefront" {
		t.Errorf("%d objects are left, want the other instance's", len(list.Items))
	}
}

func TestWriterWritesADeletedAppStatusAnew(t *testing.T) {
	s := admin(t)
	w := s.writer(t, "one")
	a := storefront()
	write(t, w, a)
	if err := s.client.Resource(GVR).Delete(t.Context(), a.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.Changed = "next"
	write(t, w, a)
	s.get(t, a.Name)
	if err := s.client.Resource(GVR).Delete(t.Context(), a.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	write(t, w) // gone already is as good as deleted
}

// Events must be where kubectl describe looks for them: by name, kind and UID of the object.
func TestEventsAreShownWithTheirAppStatus(t *testing.T) {
	s := admin(t)
	client, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	recorder := NewRecorder(client.CoreV1(), "pod-1", nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- recorder.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	a := storefront()
	recorder.Record(Transitions(nil, &a)...) // before there is an AppStatus to refer to
	w := NewWriter(WriterOptions{Client: s.client, Instance: "one", FieldManager: "one", OnUID: recorder.Bind, Log: zerolog.Nop()})
	write(t, w, a)
	recorder.Record(
		DriftCorrected(a.Name, "apps/Deployment/shop/web", "kubectl-edit", []string{"/spec/replicas"}),
		Pruned(a.Name, []string{"ConfigMap/shop/old"}),
		Fight(a.Name, "apps/Deployment/shop/web", "mutator"),
		DriftDetected(a.Name, "Service/shop/web", "", []string{strings.Repeat("x", 4000)}),
	)
	for range 10 {
		recorder.Record(Pruned(a.Name, []string{"ConfigMap/shop/old"}))
	}

	live := s.get(t, a.Name)
	name, kind, uid := live.GetName(), live.GetKind(), string(live.GetUID())
	selector := client.CoreV1().Events("").GetFieldSelector(&name, new(string), &kind, &uid)
	want := map[string]string{
		EventHeld:           "Normal held by Wave: waits for eu-west-1",
		EventSynced:         "Normal Ready at beef0000beef, 42 objects",
		EventDriftCorrected: `Normal corrected apps/Deployment/shop/web, changed by "kubectl-edit": /spec/replicas`,
		EventPruned:         "Normal pruned ConfigMap/shop/old",
		EventFight:          `Warning apps/Deployment/shop/web is overwritten again and again by "mutator"; corrected at a slower rate until that ends`,
	}
	eventually(t, func() string {
		got, detected, count := events(t, client, selector)
		if d := cmp.Diff(want, got); d != "" {
			return d
		}
		if len(detected) > maxEventMessage || count != 11 {
			return "a message is too long, or equal Events were not merged"
		}
		return ""
	})
}

// events returns the Events by reason, apart from DriftDetected, and how often Pruned was seen.
func events(t *testing.T, client kubernetes.Interface, selector fields.Selector) (got map[string]string, detected string, pruned int32) {
	t.Helper()
	list, err := client.CoreV1().Events(corev1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: selector.String()})
	if err != nil {
		t.Fatal(err)
	}
	got = map[string]string{}
	for i := range list.Items {
		e := &list.Items[i]
		switch e.Reason {
		case EventDriftDetected:
			detected = e.Message
			continue
		case EventPruned:
			pruned = e.Count
		}
		got[e.Reason] = e.Type + " " + e.Message
	}
	return got, detected, pruned
}

func TestNilRecorder(t *testing.T) {
	var r *Recorder
	r.Record(Pruned("a", nil))
	r.Bind("a", "a", "uid")
	r.BindNone()
	if err := r.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
