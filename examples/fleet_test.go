package examples

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const root = "fleet-repo"

// folders returns every folder of the example that has a kustomization, as plain kustomize sees it.
func folders(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "kustomization.yaml" {
			dirs = append(dirs, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) < 10 {
		t.Fatalf("found %d folders with a kustomization, want them all: %v", len(dirs), dirs)
	}
	return dirs
}

func build(t *testing.T, dir string) resmap.ResMap {
	t.Helper()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("kustomize build %s: %v", dir, err)
	}
	return objects
}

// TestPlainKustomizeBuilds holds that no folder needs the agent to be built.
func TestPlainKustomizeBuilds(t *testing.T) {
	for _, dir := range folders(t) {
		t.Run(dir, func(t *testing.T) {
			objects := build(t, dir)
			if objects.Size() == 0 {
				t.Error("no objects")
			}
			for _, object := range objects.Resources() {
				if object.GetName() == "holdfast-cluster" {
					t.Error("the cluster's facts would be applied: holdfast-cluster lacks the local-config annotation")
				}
				if object.GetKind() == "Secret" {
					t.Errorf("%s %s: the example keeps no secrets in Git", object.GetKind(), object.GetName())
				}
			}
		})
	}
}

// TestPodsSayWhatTheyNeed holds every workload to what a reviewer would ask for, and to what the namespaces enforce.
func TestPodsSayWhatTheyNeed(t *testing.T) {
	for _, dir := range folders(t) {
		for _, object := range build(t, dir).Resources() {
			pod := podSpec(t, object)
			if pod == nil {
				continue
			}
			name := dir + ": " + object.GetKind() + "/" + object.GetName()
			if nonRoot, _ := dig(pod, "securityContext", "runAsNonRoot").(bool); !nonRoot {
				t.Errorf("%s: runAsNonRoot is not true", name)
			}
			containers, _ := pod["containers"].([]any)
			for _, c := range containers {
				container, _ := c.(map[string]any)
				image, _ := container["image"].(string)
				if _, tag, ok := strings.Cut(image, ":"); !ok || tag == "latest" {
					t.Errorf("%s: image %q has no fixed tag", name, image)
				}
				// The search team leaves its figures to the LimitRange, to show that its defaults are not drift.
				if dig(container, "resources", "limits", "memory") == nil && !strings.HasSuffix(dir, "team-search") {
					t.Errorf("%s: no memory limit", name)
				}
			}
		}
	}
}

// TestAutoscaledWorkloadsLeaveReplicas holds that Git does not fight a HorizontalPodAutoscaler.
func TestAutoscaledWorkloadsLeaveReplicas(t *testing.T) {
	scaled := 0
	for _, dir := range folders(t) {
		objects := build(t, dir).Resources()
		for _, hpa := range objects {
			if hpa.GetKind() != "HorizontalPodAutoscaler" {
				continue
			}
			target, _ := dig(content(t, hpa), "spec", "scaleTargetRef", "name").(string)
			for _, object := range objects {
				if object.GetKind() != "Deployment" || object.GetName() != target {
					continue
				}
				scaled++
				if dig(content(t, object), "spec", "replicas") != nil {
					t.Errorf("%s: Deployment %s has replicas and an autoscaler", dir, target)
				}
			}
		}
	}
	if scaled == 0 {
		t.Error("no autoscaled Deployment found")
	}
}

// TestReadmeNamesEveryCluster holds the table of the README against the folders.
func TestReadmeNamesEveryCluster(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	clusters, err := os.ReadDir(filepath.Join(root, "clusters"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range clusters {
		if !strings.Contains(string(readme), "| "+cluster.Name()+" |") {
			t.Errorf("README.md does not list cluster %s", cluster.Name())
		}
	}
}

// TestAlertsUseMetricsThatExist holds the alerts on the agent against the metrics that it has.
func TestAlertsUseMetricsThatExist(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(root, "apps/platform/monitoring/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := os.ReadFile("../internal/metrics/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`holdfast_\w+`).FindAllString(string(rules), -1)
	if len(names) < 4 {
		t.Errorf("the alerts use %v, want one on fetching, errors, gates and fights each", names)
	}
	for _, name := range names {
		if !strings.Contains(string(metrics), strconv.Quote(name)) {
			t.Errorf("the agent has no metric %s", name)
		}
	}
}

func podSpec(t *testing.T, object *resource.Resource) map[string]any {
	t.Helper()
	path := []string{"spec", "template", "spec"}
	switch object.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
	case "CronJob":
		path = slices.Concat([]string{"spec", "jobTemplate"}, path)
	default:
		return nil
	}
	pod, ok := dig(content(t, object), path...).(map[string]any)
	if !ok {
		t.Fatalf("%s/%s has no pod template", object.GetKind(), object.GetName())
	}
	return pod
}

func content(t *testing.T, object *resource.Resource) map[string]any {
	t.Helper()
	m, err := object.Map()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// dig follows keys through nested maps; nil if one is missing.
func dig(m map[string]any, keys ...string) any {
	var value any = m
	for _, key := range keys {
		next, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = next[key]
	}
	return value
}
