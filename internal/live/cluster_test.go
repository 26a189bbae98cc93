package live

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
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

var shared = localclustertest.Shared(localcluster.Options{Name: "live", Bare: true})

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// cluster is one test's own namespace of the shared cluster.
type cluster struct {
	t       *testing.T
	ctx     context.Context
	clients *kube.Clients
	ns      string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := shared.Cluster(t)
	cfg, err := kube.Config(c.Kubeconfig(), "holdfast/test")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kube.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ns := &unstructured.Unstructured{}
	ns.SetAPIVersion("v1")
	ns.SetKind("Namespace")
	ns.SetGenerateName("t-")
	ns, err = clients.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, ctx: t.Context(), clients: clients, ns: ns.GetName()}
}

func (c *cluster) resource(u *unstructured.Unstructured) dynamic.ResourceInterface {
	c.t.Helper()
	r, err := c.clients.Mapper.Resolve(c.ctx, u.GroupVersionKind())
	if err != nil {
		c.t.Fatal(err)
	}
	return c.clients.Dynamic.Resource(r.GVR()).Namespace(c.ns)
}

// apply applies as we do, with force.
func (c *cluster) apply(u *unstructured.Unstructured) *unstructured.Unstructured {
	c.t.Helper()
	return c.applyAs(manager, u)
}

func (c *cluster) applyAs(manager string, u *unstructured.Unstructured) *unstructured.Unstructured {
	c.t.Helper()
	body, err := json.Marshal(u.Object)
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := c.resource(u).Patch(c.ctx, u.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: manager, Force: ptr.To(true)})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// patch changes an object as somebody else.
func (c *cluster) patch(u *unstructured.Unstructured, as string, how types.PatchType, body string, sub ...string) *unstructured.Unstructured {
	c.t.Helper()
	out, err := c.resource(u).Patch(c.ctx, u.GetName(), how, []byte(body), metav1.PatchOptions{FieldManager: as}, sub...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cluster) get(u *unstructured.Unstructured) *unstructured.Unstructured {
	c.t.Helper()
	out, err := c.resource(u).Get(c.ctx, u.GetName(), metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// take makes fields of others ours.
func (c *cluster) take(live *unstructured.Unstructured, takes ...Take) {
	c.t.Helper()
	patch, err := Takeover(live, manager, live.GetAPIVersion(), nil, takes...)
	if err != nil {
		c.t.Fatal(err)
	}
	if patch != nil {
		c.patch(live, manager, types.JSONPatchType, string(patch))
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

const webYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {holdfast.dev/instance: test, holdfast.dev/app: shop}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      volumes:
      - {name: tmp, emptyDir: {}}
      containers:
      - name: web
        image: web:1
        args: [a, b]
        env:
        - {name: A, value: "1"}
        - {name: B, value: "2"}
        ports:
        - {containerPort: 80}
`

func fields(u *unstructured.Unstructured, path ...string) any {
	v, _, err := unstructured.NestedFieldCopy(u.Object, path...)
	if err != nil {
		return err
	}
	return v
}

func container(u *unstructured.Unstructured, i int) map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if i >= len(list) {
		return nil
	}
	m, _ := list[i].(map[string]any)
	return m
}

func TestForeignChanges(t *testing.T) {
	const (
		none   = iota // nothing of ours changed
		byOwn         // a field of ours was taken
		byLive        // only a value tells
	)
	tests := []struct {
		name   string
		change func(c *cluster, u *unstructured.Unstructured)
		want   int
		blame  string // managers and fields of the report
	}{
		{"scale", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-scale", types.MergePatchType, `{"spec":{"replicas":5}}`, "scale")
		}, byOwn, "kubectl-scale .spec.replicas"},
		{"set image", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-set", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`)
		}, byOwn, `kubectl-set .spec.template.spec.containers[name="web"].image`},
		{"atomic list edited", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-edit", types.JSONPatchType, `[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"c"}]`)
		}, byOwn, `kubectl-edit .spec.template.spec.containers[name="web"].args`},
		{"field removed", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-edit", types.JSONPatchType, `[{"op":"remove","path":"/spec/template/spec/containers/0/env/1"}]`)
		}, byOwn, ` .spec.template.spec.containers[name="web"].env[name="B"]`},
		{"forced co-owner", func(c *cluster, u *unstructured.Unstructured) {
			o := parse(c.t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 7}}`)
			c.applyAs("other", o)
		}, byOwn, "other .spec.replicas"},
		{"our label changed", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-label", types.MergePatchType, `{"metadata":{"labels":{"holdfast.dev/app":"x"}}}`)
		}, byOwn, "kubectl-label .metadata.labels.holdfast.dev/app"},
		{"env reordered", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-edit", types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/env","value":[{"name":"B","value":"2"},{"name":"A","value":"1"}]}]`)
		}, byLive, " "}, // order has no owner, so the server does not know who
		{"emptyDir given a medium", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "kubectl-edit", types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/volumes/0/emptyDir","value":{"medium":"Memory"}}]`)
		}, byLive, `kubectl-edit .spec.template.spec.volumes[name="tmp"].emptyDir.medium`},

		{"no-op apply", func(c *cluster, u *unstructured.Unstructured) { c.apply(parse(c.t, webYAML)) }, none, ""},
		{"foreign label and annotation", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "other", types.MergePatchType, `{"metadata":{"labels":{"x":"y"},"annotations":{"x":"y"}}}`)
		}, none, ""},
		{"status update", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "controller", types.MergePatchType, `{"status":{"replicas":3,"readyReplicas":2}}`, "status")
		}, none, ""},
		{"same value written", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "other", types.MergePatchType, `{"spec":{"replicas":3}}`)
		}, none, ""},
		{"same value owned by another", func(c *cluster, u *unstructured.Unstructured) {
			o := parse(c.t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}`)
			c.applyAs("other", o)
		}, none, ""},
		{"sidecar injected", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "injector", types.JSONPatchType, `[{"op":"add","path":"/spec/template/spec/containers/0","value":{"name":"proxy","image":"proxy:1"}}]`)
		}, none, ""},
		{"field that we do not declare", func(c *cluster, u *unstructured.Unstructured) {
			c.patch(u, "other", types.MergePatchType, `{"spec":{"minReadySeconds":5}}`)
		}, none, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t)
			applied := c.apply(parse(t, webYAML))
			before := Observe(applied, manager, nil)
			if read := Observe(c.get(applied), manager, nil); read.Fingerprint != before.Fingerprint {
				t.Fatalf("the answer to the apply gives %s, a read %s", before.Fingerprint, read.Fingerprint)
			}
			tt.change(c, applied)
			changed := c.get(applied)
			after := Observe(changed, manager, nil)
			fieldsBefore, _, _ := strings.Cut(before.Fingerprint, "-")
			fieldsAfter, _, _ := strings.Cut(after.Fingerprint, "-")
			got := none
			switch {
			case fieldsBefore != fieldsAfter:
				got = byOwn
			case before.Fingerprint != after.Fingerprint:
				got = byLive
			}
			if got != tt.want {
				t.Fatalf("%s became %s: got %d, want %d", before.Fingerprint, after.Fingerprint, got, tt.want)
			}
			if Same(before.Fingerprint, after.Fingerprint) != (tt.want == none) {
				t.Error("Same disagrees")
			}
			if tt.want == none {
				return
			}
			if tt.want == byLive {
				c.take(changed, Inside(changed, manager))
			}
			repaired := c.apply(parse(t, webYAML))
			if got := Observe(repaired, manager, nil); got.Fingerprint != before.Fingerprint {
				t.Errorf("not as before: %s, was %s", got.Fingerprint, before.Fingerprint)
			}
			for _, path := range [][]string{{"spec", "replicas"}, {"spec", "template"}} {
				want, _ := json.Marshal(fields(applied, path...))
				if got, _ := json.Marshal(fields(repaired, path...)); string(got) != string(want) {
					t.Errorf("%v is %s, want %s", path, got, want)
				}
			}
			report := Blame(after.Managed, repaired.GetManagedFields(), manager)
			if said := strings.Join(report.Managers, ",") + " " + strings.Join(report.Fields, ","); said != tt.blame {
				t.Errorf("blames %q, want %q", said, tt.blame)
			}
		})
	}
}

func TestSecretIsJudgedByMetadata(t *testing.T) {
	c := newCluster(t)
	secret := parse(t, `{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {password: aHVudGVyMg==}}`)
	applied := c.apply(secret)
	read := func() (whole, meta View) {
		t.Helper()
		whole = Observe(c.get(secret), manager, nil)
		m, err := c.clients.Metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(c.ns).Get(c.ctx, "s", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m.SetGroupVersionKind(secret.GroupVersionKind())
		return whole, Observe(m, manager, nil)
	}
	before := Observe(applied, manager, nil)
	whole, meta := read()
	if whole.Fingerprint != before.Fingerprint || meta.Fingerprint != before.Fingerprint || before.Fingerprint == "" {
		t.Fatalf("answer %q, read %q, metadata %q", before.Fingerprint, whole.Fingerprint, meta.Fingerprint)
	}
	c.patch(secret, "kubectl-patch", types.MergePatchType, `{"stringData":{"password":"other"}}`)
	if _, meta = read(); meta.Fingerprint == before.Fingerprint {
		t.Fatal("a replaced password goes unnoticed")
	}
	repaired := c.apply(secret)
	if got := fields(repaired, "data", "password"); got != "aHVudGVyMg==" {
		t.Errorf("password is %v", got)
	}
	if r := Blame(meta.Managed, repaired.GetManagedFields(), manager); strings.Join(r.Managers, "") != "kubectl-patch" || strings.Join(r.Fields, "") != ".data.password" {
		t.Errorf("blames %+v", r)
	}
}

func TestIgnoredReplicas(t *testing.T) {
	c := newCluster(t)
	ignore := []string{"/spec/replicas"}
	desired := parse(t, webYAML)
	applied := c.apply(Body(desired, nil, manager, ignore))
	before := Observe(applied, manager, ignore)
	if got := fields(applied, "spec", "replicas"); got != int64(3) {
		t.Fatalf("created with %v replicas", got)
	}
	// We alone own it: leaving it out would make it one.
	c.apply(Body(desired, applied, manager, ignore))
	if got := fields(c.get(applied), "spec", "replicas"); got != int64(3) {
		t.Fatalf("an apply makes it %v replicas", got)
	}
	c.patch(applied, "kubectl-scale", types.MergePatchType, `{"spec":{"replicas":5}}`, "scale")
	now := c.get(applied)
	if got := Observe(now, manager, ignore); got.Fingerprint != before.Fingerprint {
		t.Fatal("an ignored edit counts as drift")
	}
	c.patch(applied, "kubectl-set", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`)
	now = c.get(applied)
	if got := Observe(now, manager, ignore); got.Fingerprint == before.Fingerprint {
		t.Fatal("an edit of the image goes unnoticed")
	}
	repaired := c.apply(Body(desired, now, manager, ignore))
	if fields(repaired, "spec", "replicas") != int64(5) || container(repaired, 0)["image"] != "web:1" {
		t.Errorf("repaired to %v replicas and %v", fields(repaired, "spec", "replicas"), container(repaired, 0)["image"])
	}
	if got := Observe(repaired, manager, ignore); got.Fingerprint != before.Fingerprint {
		t.Error("the repair changed the fingerprint")
	}
}

func TestReplicasHandedToAutoscaler(t *testing.T) {
	c := newCluster(t)
	applied := c.apply(parse(t, webYAML))
	desired := parse(t, webYAML)
	unstructured.RemoveNestedField(desired.Object, "spec", "replicas")
	ignore := Implied(desired)

	handed := c.apply(Body(desired, applied, manager, ignore))
	if got := fields(handed, "spec", "replicas"); got != int64(3) {
		t.Fatalf("dropping replicas makes it %v", got)
	}
	before := Observe(handed, manager, ignore)
	c.patch(handed, "kube-controller-manager", types.MergePatchType, `{"spec":{"replicas":8}}`, "scale")
	now := c.get(handed)
	if got := Observe(now, manager, ignore); got.Fingerprint != before.Fingerprint {
		t.Fatal("the autoscaler's first change counts as drift")
	}
	last := c.apply(Body(desired, now, manager, ignore))
	if got := fields(last, "spec", "replicas"); got != int64(8) {
		t.Errorf("the next apply makes it %v", got)
	}
	if got := Observe(last, manager, ignore); got.Fingerprint != before.Fingerprint {
		t.Error("the fingerprint moved although nothing of ours did")
	}
	if len(Implied(parse(t, webYAML))) != 0 {
		t.Error("replicas that are declared are not ignored")
	}
}

// An item's position names it in the live list, where an injected sidecar may stand before it.
func TestIgnoredItemOfAList(t *testing.T) {
	c := newCluster(t)
	desired := parse(t, webYAML)
	applied := c.apply(desired)
	c.patch(applied, "injector", types.JSONPatchType, `[{"op":"add","path":"/spec/template/spec/containers/0","value":{"name":"proxy","image":"proxy:1"}}]`)
	ignore := []string{"/spec/template/spec/containers/1/image", "/spec/template/spec/containers/1/args/0"}
	before := Observe(c.get(applied), manager, ignore)
	c.patch(applied, "updater", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`)
	now := c.get(applied)
	if got := Observe(now, manager, ignore); got.Fingerprint != before.Fingerprint {
		t.Fatal("the ignored image counts as drift")
	}
	c.patch(applied, "updater", types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/1/args","value":["z","b"]}]`)
	now = c.get(applied)
	repaired := c.apply(Body(desired, now, manager, ignore))
	web := container(repaired, 1)
	if web["name"] != "web" || web["image"] != "web:2" {
		t.Errorf("the ignored image was reset: %v", web)
	}
	if args, _ := json.Marshal(web["args"]); string(args) != `["z","b"]` {
		t.Errorf("the ignored item of an atomic list was reset: %s", args)
	}
	if container(repaired, 0)["name"] != "proxy" {
		t.Error("the sidecar is gone")
	}
}

func TestAdoption(t *testing.T) {
	c := newCluster(t)
	old := parse(t, webYAML)
	unstructured.RemoveNestedField(old.Object, "metadata", "labels")
	if err := unstructured.SetNestedField(old.Object, int64(9), "spec", "minReadySeconds"); err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(old.Object)
	if err != nil {
		t.Fatal(err)
	}
	old.SetAnnotations(map[string]string{lastApplied: string(manifest)})
	created, err := c.resource(old).Create(c.ctx, old, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
	if err != nil {
		t.Fatal(err)
	}
	c.patch(created, "kubectl-rollout", types.StrategicMergePatchType, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-20T10:00:00Z"}}}}}`)
	c.patch(created, "other", types.MergePatchType, `{"metadata":{"labels":{"foreign":"yes"},"finalizers":["example.com/keep"]}}`)
	live := c.get(created)
	if !Declared(live.GetManagedFields(), manager) {
		t.Error("kubectl's manifest is not seen")
	}
	c.take(live, Adopted(live))
	adopted := c.apply(parse(t, webYAML))
	if got := fields(adopted, "spec", "minReadySeconds"); got != nil {
		t.Errorf("a field that Git does not have stays: minReadySeconds %v", got)
	}
	if adopted.GetAnnotations()[lastApplied] != "" {
		t.Error("kubectl's manifest stays")
	}
	if got := fields(adopted, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"); got == nil {
		t.Error("the restart was undone")
	}
	if adopted.GetLabels()["foreign"] != "yes" || len(adopted.GetFinalizers()) != 1 {
		t.Errorf("labels %v and finalizers %v of others are gone", adopted.GetLabels(), adopted.GetFinalizers())
	}
	if Declared(adopted.GetManagedFields(), manager) {
		t.Error("kubectl still owns fields")
	}
	// Nothing is left to take.
	if patch, err := Takeover(adopted, manager, "apps/v1", nil, Adopted(adopted)); err != nil || patch != nil {
		t.Errorf("a second takeover wants %s (%v)", patch, err)
	}
	if _, err := c.resource(adopted).Patch(c.ctx, "web", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestAdoptionFromServerSideAppliers(t *testing.T) {
	for _, tool := range []string{"kustomize-controller", "helm", "argocd-controller", "kubectl"} {
		t.Run(tool, func(t *testing.T) {
			c := newCluster(t)
			old := parse(t, webYAML)
			if err := unstructured.SetNestedField(old.Object, int64(9), "spec", "minReadySeconds"); err != nil {
				t.Fatal(err)
			}
			live := c.applyAs(tool, old)
			c.take(live, Adopted(live))
			adopted := c.apply(parse(t, webYAML))
			if got := fields(adopted, "spec", "minReadySeconds"); got != nil {
				t.Errorf("minReadySeconds stays %v", got)
			}
		})
	}
}

func TestServiceKeepsItsAddresses(t *testing.T) {
	c := newCluster(t)
	text := `{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}}`
	created, err := c.resource(parse(t, text)).Create(c.ctx, parse(t, text), metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
	if err != nil {
		t.Fatal(err)
	}
	c.take(created, Adopted(created))
	adopted := c.apply(parse(t, text))
	for _, path := range [][]string{{"spec", "clusterIP"}, {"spec", "ports"}} {
		want, _ := json.Marshal(fields(created, path...))
		if got, _ := json.Marshal(fields(adopted, path...)); string(got) != string(want) {
			t.Errorf("%v was %s, is %s", path, want, got)
		}
	}
}

func TestStrict(t *testing.T) {
	c := newCluster(t)
	desired := parse(t, webYAML)
	applied := c.apply(desired)
	c.patch(applied, "kubectl-rollout", types.StrategicMergePatchType, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-20T10:00:00Z"}}}}}`)
	c.patch(applied, "injector", types.MergePatchType, `{"metadata":{"annotations":{"injected":"yes"}}}`)
	if v := Observe(c.get(applied), manager, nil); v.Human {
		t.Error("a restart and an injector are no people")
	}
	c.patch(applied, "kubectl-edit", types.JSONPatchType, `[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"debug","image":"sh"}},{"op":"add","path":"/metadata/annotations/note","value":"x"}]`)
	live := c.get(applied)
	v := Observe(live, manager, nil)
	if !v.Human {
		t.Fatal("a container added with kubectl edit goes unnoticed")
	}
	if r := HumanFields(live.GetManagedFields(), manager, live.Object, nil); strings.Join(r.Fields, " ") != `.metadata.annotations.note .spec.template.spec.containers[name="debug"]` {
		t.Errorf("fields %q by %q", r.Fields, r.Managers)
	}
	c.take(live, Human)
	strict := c.apply(desired)
	if container(strict, 1) != nil || strict.GetAnnotations()["note"] != "" {
		t.Errorf("what was added stays: %v %v", container(strict, 1), strict.GetAnnotations())
	}
	if strict.GetAnnotations()["injected"] != "yes" {
		t.Error("a controller's annotation is gone")
	}
	if got := fields(strict, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"); got == nil {
		t.Error("the restart was undone")
	}
	if v := Observe(strict, manager, nil); v.Human {
		t.Error("there is still something to take: it would be repaired for ever")
	}
}

func TestVersionsShareTheFieldHalf(t *testing.T) {
	c := newCluster(t)
	hpa := parse(t, `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web}, spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}`)
	applied := Observe(c.apply(hpa), manager, nil)
	v1, err := c.clients.Dynamic.Resource(schema.GroupVersionResource{Group: "autoscaling", Version: "v1", Resource: "horizontalpodautoscalers"}).Namespace(c.ns).Get(c.ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other := Observe(v1, manager, nil)
	if strings.Contains(other.Fingerprint, "-") || !Same(applied.Fingerprint, other.Fingerprint) {
		t.Errorf("applied in v2 %q, read in v1 %q", applied.Fingerprint, other.Fingerprint)
	}
}
