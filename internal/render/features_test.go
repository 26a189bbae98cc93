package render

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// TestLocalConfig: objects marked local-config are never applied, on either path; kustomize's rule
// is that the value "false" does not count.
func TestLocalConfig(t *testing.T) {
	object := func(name, value string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, annotations: {config.kubernetes.io/local-config: %q}}\n", name, value)
	}
	all := object("a", "true") + object("b", "yes") + object("c", "false") + object("d", "")
	for name, extra := range map[string]string{"plain": "", "kustomize": "namePrefix: x-\n"} {
		t.Run(name, func(t *testing.T) {
			res, err := build1(memTree{
				"apps/web/kustomization.yaml": "resources: [a.yaml]\n" + extra, "apps/web/a.yaml": all,
			}, fleet.AppSpec{})
			if err != nil || len(res.Objects) != 1 || !strings.HasSuffix(res.Objects[0].ID.Name, "c") {
				t.Errorf("%v, %v", res.Objects, err)
			}
			_, err = build1(memTree{
				"apps/web/kustomization.yaml": "resources: [a.yaml]\n" + extra, "apps/web/a.yaml": object("a", "true"),
			}, fleet.AppSpec{})
			if !errors.Is(err, errNothing) {
				t.Errorf("only local objects: %v", err)
			}
		})
	}
}

// TestAllowEmpty: nothing is a result only where the app says so.
func TestAllowEmpty(t *testing.T) {
	files := memTree{"apps/web/kustomization.yaml": "resources: []\n"}
	res, err := build1(files, fleet.AppSpec{AllowEmpty: true})
	if err != nil || len(res.Objects) != 0 || res.Content == "" {
		t.Error(res, err)
	}
}

// TestNamespaceEqualsKustomize: spec.namespace gives what a kustomization with namespace: gives.
func TestNamespaceEqualsKustomize(t *testing.T) {
	files := archive(t, `
-- apps/web/kustomization.yaml --
resources: [a.yaml]
-- apps/web/a.yaml --
apiVersion: v1
kind: ServiceAccount
metadata: {name: a, namespace: other}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
---
apiVersion: v1
kind: Namespace
metadata: {name: old}
---
apiVersion: example.com/v1
kind: Custom
metadata: {name: c}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: b}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: a, namespace: other}, {kind: ServiceAccount, name: default}, {kind: User, name: u}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks: [{name: w, clientConfig: {service: {name: s, namespace: other}}}]
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: other}
-- apps/ref/kustomization.yaml --
namespace: shop
resources: [../web]
`)
	ours, err := build1(files, fleet.AppSpec{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := build1(files, fleet.AppSpec{}, func(r *Request) { r.App.Dir = "apps/ref" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts(theirs), texts(ours)); diff != "" {
		t.Error(diff)
	}
	if len(ours.Objects) != 7 || !strings.Contains(strings.Join(texts(ours), ""), `"namespace":"shop"`) {
		t.Errorf("%q", texts(ours))
	}
}

func texts(r Result) (all []string) {
	for _, o := range r.Objects {
		all = append(all, string(o.JSON))
	}
	return all
}

func TestReplicas(t *testing.T) {
	workload := func(kind, name string) string {
		return fmt.Sprintf("---\napiVersion: apps/v1\nkind: %s\nmetadata: {name: %s}\nspec: {replicas: 1}\n", kind, name)
	}
	for name, tc := range map[string]struct {
		files  string
		share  int32
		target *fleet.Target
		want   string // the object that has the share
		fault  string
	}{
		"only Deployment":  {files: workload("Deployment", "a") + workload("DaemonSet", "b"), share: 4, want: "apps/Deployment/a"},
		"only StatefulSet": {files: workload("StatefulSet", "a"), share: 4, want: "apps/StatefulSet/a"},
		"none here":        {files: workload("Deployment", "a"), share: 0, want: "apps/Deployment/a"},
		"by target":        {files: workload("Deployment", "a") + workload("Deployment", "b"), share: 4, target: &fleet.Target{Kind: "Deployment", Name: "b"}, want: "apps/Deployment/b"},
		"a custom kind":    {files: strings.ReplaceAll(workload("Rollout", "a"), "apps/v1", "argoproj.io/v1"), share: 4, target: &fleet.Target{Kind: "Rollout", Name: "a"}, want: "argoproj.io/Rollout/a"},
		"another's autoscaler": {files: workload("Deployment", "a") + "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {scaleTargetRef: {kind: Deployment, name: z}}\n",
			share: 4, want: "apps/Deployment/a"},
		"the target is invalid":  {files: strings.Replace(workload("Deployment", "a"), "name: a", "name: a, labels: {v: 1}", 1) + workload("DaemonSet", "b"), share: 4, fault: "labels"},
		"the target has no spec": {files: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", share: 4, fault: "no spec"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := build1(memTree{"apps/web/kustomization.yaml": "resources: [a.yaml]\n", "apps/web/a.yaml": tc.files},
				fleet.AppSpec{}, func(r *Request) { r.Share, r.Target = &tc.share, tc.target })
			if err != nil {
				t.Fatal(err)
			}
			if tc.fault != "" {
				if len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Message, tc.fault) {
					t.Errorf("errors %v", res.Errors)
				}
				return
			}
			for _, o := range res.Objects {
				has := strings.Contains(string(o.JSON), fmt.Sprintf(`"replicas":%d}`, tc.share))
				if has != (Name(o.ID) == tc.want) {
					t.Errorf("%s: %s", Name(o.ID), o.JSON)
				}
			}
		})
	}
}

// TestFillFacts: what is taken for the placeholder, and what is left alone.
func TestFillFacts(t *testing.T) {
	facts := fleet.Facts{Name: "us\n1: x", Labels: map[string]string{"a/b": "yes"}, Vars: map[string]string{"n": "3"}}
	const local = "metadata: {name: holdfast-cluster, annotations: {config.kubernetes.io/local-config: \"true\"}}\n"
	for name, tc := range map[string]struct {
		in   string
		want bool
	}{
		"placeholder":   {"apiVersion: v1\nkind: ConfigMap\n" + local + "data: {name: x, old: y}\n", true},
		"without data":  {"apiVersion: v1\nkind: ConfigMap\n" + local, true},
		"second":        {configMap + "---\napiVersion: v1\nkind: ConfigMap\n" + local, true},
		"in a List":     {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  " + local, true},
		"not local":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: holdfast-cluster}\n", false},
		"not ConfigMap": {"apiVersion: v1\nkind: Secret\n" + local, false},
		"other name":    {"apiVersion: v1\nkind: ConfigMap\n" + strings.Replace(local, "holdfast-cluster", "holdfast-clusters", 1), false},
		"not YAML":      {"echo holdfast-cluster: [\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			out, found := fillFacts([]byte(tc.in), facts)
			if found != tc.want {
				t.Fatalf("found is %t", found)
			}
			if !found {
				if string(out) != tc.in {
					t.Errorf("changed to %s", out)
				}
				return
			}
			nodes, err := parseAll(out)
			if err != nil {
				t.Fatal(err)
			}
			last, err := decode(nodes[len(nodes)-1])
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range flatten(last) {
				want := map[string]any{"name": "us\n1: x", "label.a/b": "yes", "var.n": "3"}
				if diff := cmp.Diff(want, m["data"]); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestFilesRefuse: nothing can be written, and nothing outside of the repository can be seen.
func TestFilesRefuse(t *testing.T) {
	f := newFiles(memTree{"a": "b"}, fleet.Facts{})
	for name, err := range map[string]error{
		"write": f.WriteFile(mount+"/a", nil), "mkdir": f.Mkdir(mount + "/b"), "mkdir all": f.MkdirAll(mount + "/b"), "remove": f.RemoveAll(mount + "/a"),
	} {
		if !errors.Is(err, errReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.Create(mount + "/b"); !errors.Is(err, errReadOnly) {
		t.Error(err)
	}
	if f.failed != nil {
		t.Fatal(f.failed)
	}
	for _, p := range []string{"/etc/passwd", mount + "/../etc", mount + "x/a", "/", "a"} {
		if f.Exists(p) || f.IsDir(p) || f.failed == nil {
			t.Errorf("%s can be seen", p)
		}
		f.failed = nil
	}
}

func TestPrintMasks(t *testing.T) {
	res, err := build1(memTree{
		"apps/web/kustomization.yaml": "resources: [a.yaml]\n",
		"apps/web/a.yaml": configMap + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {" + lastApplied + ": hunter2}}\n" +
			"stringData: {long: hunter2, one: h}\n",
	}, fleet.AppSpec{})
	if err != nil {
		t.Fatal(err)
	}
	var masked, shown strings.Builder
	if err := errors.Join(Print(&masked, res.Objects, PrintOptions{}), Print(&shown, res.Objects, PrintOptions{ShowSecrets: true})); err != nil {
		t.Fatal(err)
	}
	if s := masked.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "aHVudGVyMg") || !strings.Contains(s, "*** (7 bytes)") || !strings.Contains(s, "*** (1 byte)") {
		t.Errorf("masked:\n%s", s)
	}
	if s := shown.String(); !strings.Contains(s, "aHVudGVyMg==") || strings.Contains(s, "***") {
		t.Errorf("shown:\n%s", s)
	}
	// What is printed is what is applied: parsed again it gives the same bytes.
	nodes, err := parseAll([]byte(shown.String()))
	if err != nil || len(nodes) != len(res.Objects) {
		t.Fatal(len(nodes), err)
	}
	for i, n := range nodes {
		m, err := decode(n)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := canonical(m); err != nil || string(b) != string(res.Objects[i].JSON) {
			t.Errorf("%s, %v; want %s", b, err, res.Objects[i].JSON)
		}
	}
}

// TestCanonical: numbers stay what they are, nothing is escaped for HTML, nulls are gone.
func TestCanonical(t *testing.T) {
	nodes, err := parseAll([]byte("b: 9007199254740993\na: {z: <&>, y: null, x: [null, 1.0, 1.5, 18446744073709551615]}\n8080: t\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := canonical(m)
	if want := `{"8080":"t","a":{"x":[null,1,1.5,18446744073709551615],"z":"<&>"},"b":9007199254740993}`; err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
}

// TestSteering: annotations that steer reconciliation travel with the object, others do not.
func TestSteering(t *testing.T) {
	res, err := build1(memTree{
		"apps/web/kustomization.yaml": "resources: [a.yaml]\n",
		"apps/web/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {holdfast.dev/prune: disabled, other: x," +
			" config.kubernetes.io/depends-on: v1/namespaces/a/ConfigMap/b}}\n---\n" + configMap,
	}, fleet.AppSpec{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"holdfast.dev/prune": "disabled", "config.kubernetes.io/depends-on": "v1/namespaces/a/ConfigMap/b"}
	if diff := cmp.Diff(want, res.Objects[0].Annotations); diff != "" || res.Objects[1].Annotations != nil {
		t.Error(diff, res.Objects[1].Annotations)
	}
}
