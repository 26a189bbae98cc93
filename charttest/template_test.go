package charttest

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const chart = "../charts/agent"

func ciValues(t *testing.T) []Values {
	t.Helper()
	all, err := CIValues(chart)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func render(t *testing.T, values map[string]any) (manifest, notes string) {
	t.Helper()
	manifest, notes, err := Render(chart, values)
	if err != nil {
		t.Fatal(err)
	}
	return manifest, notes
}

func TestLint(t *testing.T) {
	for _, values := range ciValues(t) {
		t.Run(values.Name, func(t *testing.T) {
			if err := Lint(chart, values.Values); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRenderGolden(t *testing.T) {
	for _, values := range ciValues(t) {
		t.Run(values.Name, func(t *testing.T) {
			manifest, notes := render(t, values.Values)
			golden(t, values.Name+".yaml", manifest)
			golden(t, values.Name+".notes.txt", notes)
		})
	}
}

// TestNotesSayWhatUninstallLeaves holds the promise that nothing applied is taken away.
func TestNotesSayWhatUninstallLeaves(t *testing.T) {
	for _, values := range ciValues(t) {
		_, notes := render(t, values.Values)
		for _, want := range []string{"kubectl get appstatuses --watch", "every object the agent applied", "appstatuses.holdfast.dev", "the inventory"} {
			if !strings.Contains(notes, want) {
				t.Errorf("values %q: notes lack %q:\n%s", values.Name, want, notes)
			}
		}
	}
}

// TestPodIsRestricted holds the pod to the Pod Security Standard "restricted", and to a root file system that
// cannot be written.
func TestPodIsRestricted(t *testing.T) {
	for _, values := range ciValues(t) {
		t.Run(values.Name, func(t *testing.T) {
			manifest, _ := render(t, values.Values)
			set := one[appsv1.StatefulSet](t, manifest, "StatefulSet")
			if set.Spec.Replicas == nil || *set.Spec.Replicas != 1 {
				t.Errorf("replicas: %v, want 1", set.Spec.Replicas)
			}
			pod := set.Spec.Template.Spec
			if pod.SecurityContext == nil || pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot ||
				pod.SecurityContext.SeccompProfile == nil || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("pod security context: %+v", pod.SecurityContext)
			}
			if pod.HostNetwork || pod.HostPID || pod.HostIPC {
				t.Error("the pod uses a namespace of the host")
			}
			context := pod.Containers[0].SecurityContext
			if context == nil || context.AllowPrivilegeEscalation == nil || *context.AllowPrivilegeEscalation ||
				context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem ||
				context.Capabilities == nil || !cmp.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(context.Capabilities.Add) > 0 {
				t.Errorf("container security context: %+v", context)
			}
			for key, value := range set.Spec.Selector.MatchLabels {
				if set.Spec.Template.Labels[key] != value {
					t.Errorf("pod label %s: %q, the selector wants %q", key, set.Spec.Template.Labels[key], value)
				}
			}
		})
	}
}

// TestSettingsHaveOneSource holds that what is in the config file is not an argument as well: the argument would win.
func TestSettingsHaveOneSource(t *testing.T) {
	for _, values := range ciValues(t) {
		manifest, _ := render(t, values.Values)
		args := one[appsv1.StatefulSet](t, manifest, "StatefulSet").Spec.Template.Spec.Containers[0].Args
		config, _ := values.Values["config"].(map[string]any)
		for _, flag := range []string{"cluster", "repo", "branch", "path", "poll", "data-dir", "namespace", "listen", "log-format", "log-level"} {
			given := 0
			for _, arg := range args {
				if strings.HasPrefix(arg, "--"+flag+"=") {
					given++
				}
			}
			want := 1
			if config[flag] != nil {
				want = 0
			}
			if given != want {
				t.Errorf("values %q: --%s is given %d times, want %d: %v", values.Name, flag, given, want, args)
			}
		}
	}
}

// TestRulesModeGrantsNoMore holds that the only way to cluster-admin is the mode that says so.
func TestRulesModeGrantsNoMore(t *testing.T) {
	for _, values := range ciValues(t) {
		manifest, _ := render(t, values.Values)
		rbac, _ := values.Values["rbac"].(map[string]any)
		admin := false
		for _, document := range documents(manifest, "ClusterRoleBinding") {
			var binding rbacv1.ClusterRoleBinding
			decode(t, document, &binding)
			admin = admin || binding.RoleRef.Name == "cluster-admin"
		}
		if want := rbac["mode"] == nil && rbac["create"] == nil; admin != want {
			t.Errorf("values %q: bound to cluster-admin: %t, want %t", values.Name, admin, want)
		}
	}
}

// TestCRDIsTheAgents holds the chart's copy of the CRD equal to the one that the agent carries.
func TestCRDIsTheAgents(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(chart, "crds", "appstatuses.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../internal/status/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(source), string(shipped)); diff != "" {
		t.Errorf("charts/agent/crds/appstatuses.yaml differs from internal/status/crd.yaml; copy it:\n%s", diff)
	}
}

// TestReadmeListsEveryValue holds the README's table complete and free of values that no longer exist.
func TestReadmeListsEveryValue(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for key, value := range values {
		nested, ok := value.(map[string]any)
		if !ok || len(nested) == 0 || key == "resources" {
			want[key] = true
			continue
		}
		for sub := range nested {
			want[key+"."+sub] = true
		}
	}
	for line := range strings.Lines(string(readme)) {
		rest, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "`")
		if !want[name] {
			t.Errorf("README.md lists %q, which is not a value of the chart", name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("README.md does not list %q", name)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-golden +rendered; -update rewrites it):\n%s", path, diff)
	}
}

// documents returns the YAML documents of a kind.
func documents(manifest, kind string) []string {
	var found []string
	for document := range strings.SplitSeq(manifest, "\n---\n") {
		if strings.Contains("\n"+document+"\n", "\nkind: "+kind+"\n") {
			found = append(found, document)
		}
	}
	return found
}

// one decodes the only object of a kind.
func one[T any](t *testing.T, manifest, kind string) T {
	t.Helper()
	var object T
	found := documents(manifest, kind)
	if len(found) != 1 {
		t.Fatalf("rendered %d objects of kind %s, want 1", len(found), kind)
	}
	decode(t, found[0], &object)
	return object
}

func decode(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
		t.Fatalf("decode: %v\n%s", err, document)
	}
}
