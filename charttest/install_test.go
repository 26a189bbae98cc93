package charttest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
)

const (
	clusterName = "us-east-1"
	secretName  = "fleet-git"
	// settle bounds a wait; it is for a hung test, not a measure.
	settle = 90 * time.Second
)

var (
	appStatuses     = schema.GroupVersionResource{Group: "holdfast.dev", Version: "v1alpha1", Resource: "appstatuses"}
	networkPolicies = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
)

// installation is the chart on a real cluster, with a real Git server that serves the example fleet.
type installation struct {
	cluster *localcluster.Cluster
	client  kubernetes.Interface
	dynamic dynamic.Interface
	helm    *action.Configuration
	git     *gittest.Server
	repo    *gittest.Repo
}

// TestInstalledAgentSyncsTheExample installs the chart with too few permissions, sees the agent name the one that is missing
// and apply the rest, grants it by an upgrade, and uninstalls.
func TestInstalledAgentSyncsTheExample(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	binary := buildAgent(t)
	i := install(t, rules(t, "networkpolicies"))
	agent := runPod(t, i.cluster, i.client, i.agentPod(t), binary)

	t.Run("a missing permission is named", func(t *testing.T) {
		// Apps that have NetworkPolicies: all but these are Ready.
		denied := []string{"checkout", "orders-db", "storefront", "team-ads", "team-search"}
		eventually(t, agent, func(ctx context.Context) error {
			apps, err := i.apps(ctx)
			if err != nil {
				return err
			}
			for _, name := range denied {
				app, ok := apps[name]
				if !ok {
					return fmt.Errorf("no AppStatus %s", name)
				}
				if app.ready {
					return fmt.Errorf("AppStatus %s is Ready without the permission", name)
				}
				if !strings.Contains(app.errors, "networking.k8s.io/NetworkPolicy/") ||
					!strings.Contains(app.errors, "may not patch networkpolicies.networking.k8s.io") {
					return fmt.Errorf("AppStatus %s does not name what is missing: %q", name, app.errors)
				}
			}
			return onlyNotReady(apps, denied)
		})
		// The rest of a denied app is there.
		if _, err := i.client.AppsV1().Deployments("storefront").Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})

	t.Run("granted, everything syncs", func(t *testing.T) {
		i.upgrade(t, rules(t))
		eventually(t, agent, i.allReady)
		policies, err := i.dynamic.Resource(networkPolicies).List(t.Context(), metav1.ListOptions{LabelSelector: "holdfast.dev/instance=" + Namespace})
		if err != nil {
			t.Fatal(err)
		}
		if len(policies.Items) != 5 {
			t.Errorf("%d NetworkPolicies, want 5", len(policies.Items))
		}
	})

	t.Run("probes", func(t *testing.T) {
		container := agent.pod.Spec.Containers[0]
		for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
			if status := agent.probe(t.Context(), probe); status != http.StatusOK {
				t.Errorf("%s probe %s: status %d", name, probe.HTTPGet.Path, status)
			}
		}
	})

	t.Run("it is the chart's ServiceAccount that asks", func(t *testing.T) { i.onlyTheServiceAccount(t, agent) })

	t.Run("upgrade to cluster-admin", func(t *testing.T) {
		i.upgrade(t, map[string]any{"rbac": map[string]any{"mode": "clusterAdmin"}})
		// An app without waves: those of others wait for clusters that are not there.
		if _, err := i.repo.Commit(gittest.Edit("apps/shop/checkout/base/pdb.yaml", func(content string) string {
			return strings.Replace(content, "maxUnavailable: 25%", "maxUnavailable: 30%", 1)
		})); err != nil {
			t.Fatal(err)
		}
		eventually(t, agent, func(ctx context.Context) error {
			budget, err := i.client.PolicyV1().PodDisruptionBudgets("checkout").Get(ctx, "checkout", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got := budget.Spec.MaxUnavailable.String(); got != "30%" {
				return fmt.Errorf("maxUnavailable is %s", got)
			}
			return nil
		})
	})

	t.Run("a second agent with every value set", i.installSecond)

	t.Run("uninstall leaves what was applied", func(t *testing.T) {
		agent.stop(t)
		before := i.applied(t)
		if len(before) < 30 {
			t.Fatalf("%d objects, want the whole example: %v", len(before), before)
		}
		uninstall := action.NewUninstall(i.helm)
		uninstall.WaitStrategy, uninstall.Timeout = kube.HookOnlyStrategy, settle
		if _, err := uninstall.Run(ReleaseName); err != nil {
			t.Fatalf("helm uninstall: %v", err)
		}
		if diff := missing(before, i.applied(t)); len(diff) > 0 {
			t.Errorf("uninstalling took away: %v", diff)
		}
		apps, err := i.apps(t.Context())
		if err != nil || len(apps) == 0 {
			t.Errorf("the AppStatus objects are gone: %v", err)
		}
		if _, err := i.client.AppsV1().StatefulSets(Namespace).Get(t.Context(), ReleaseName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the StatefulSet is still there: %v", err)
		}
		left, err := i.client.CoreV1().ConfigMaps(Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "holdfast.dev/inventory"})
		if err != nil {
			t.Fatal(err)
		}
		if len(left.Items) == 0 {
			t.Error("the inventory is gone")
		}
	})
}

// install starts a cluster and a Git server and installs the chart, into a namespace that enforces the Pod Security
// Standard "restricted".
func install(t *testing.T, values map[string]any) *installation {
	t.Helper()
	cluster, err := localcluster.Start(t.Context(), localcluster.Options{Name: "chart"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	i := &installation{cluster: cluster}
	if i.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if i.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	i.serveExample(t)
	i.prepareNamespace(t)

	i.helm = i.helmIn(t, Namespace)
	loaded, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	run := action.NewInstall(i.helm)
	run.ReleaseName, run.Namespace = ReleaseName, Namespace
	run.WaitStrategy, run.Timeout = kube.HookOnlyStrategy, settle
	if _, err := run.RunWithContext(t.Context(), loaded, i.values(values)); err != nil {
		t.Fatalf("helm install: %v", err)
	}
	return i
}

// installSecond installs the chart once more, into a namespace that Helm creates, with the example of all values: the API
// server accepts every object, and none is one of the first agent's.
func (i *installation) installSecond(t *testing.T) {
	all, err := CIValues(chart)
	if err != nil {
		t.Fatal(err)
	}
	full := slices.IndexFunc(all, func(v Values) bool { return v.Name == "full" })
	values := all[full].Values
	values["serviceMonitor"] = map[string]any{"enabled": false} // its kind is not in this cluster
	loaded, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	helm := i.helmIn(t, "second")
	run := action.NewInstall(helm)
	run.ReleaseName, run.Namespace, run.CreateNamespace = ReleaseName, "second", true
	run.WaitStrategy, run.Timeout = kube.HookOnlyStrategy, settle
	if _, err := run.RunWithContext(t.Context(), loaded, values); err != nil {
		t.Fatalf("helm install: %v", err)
	}
	set, err := i.client.AppsV1().StatefulSets("second").Get(t.Context(), "fleet-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Spec.VolumeClaimTemplates; len(got) != 1 {
		t.Errorf("volume claim templates: %v, want the data dir", got)
	}
	uninstall := action.NewUninstall(helm)
	uninstall.WaitStrategy, uninstall.Timeout = kube.HookOnlyStrategy, settle
	if _, err := uninstall.Run(ReleaseName); err != nil {
		t.Fatalf("helm uninstall: %v", err)
	}
	if _, err := i.client.AppsV1().StatefulSets(Namespace).Get(t.Context(), ReleaseName, metav1.GetOptions{}); err != nil {
		t.Errorf("the first agent went with the second: %v", err)
	}
}

// helmIn returns Helm for the releases of a namespace.
func (i *installation) helmIn(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	settings := cli.New()
	settings.KubeConfig = i.cluster.Kubeconfig()
	settings.SetNamespace(namespace)
	helm := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := helm.Init(settings.RESTClientGetter(), namespace, "secret"); err != nil {
		t.Fatal(err)
	}
	return helm
}

func (i *installation) upgrade(t *testing.T, values map[string]any) {
	t.Helper()
	loaded, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	run := action.NewUpgrade(i.helm)
	run.Namespace = Namespace
	run.WaitStrategy, run.Timeout = kube.HookOnlyStrategy, settle
	if _, err := run.RunWithContext(t.Context(), ReleaseName, loaded, i.values(values)); err != nil {
		t.Fatalf("helm upgrade: %v", err)
	}
}

// values are what a user sets, and more.
func (i *installation) values(more map[string]any) map[string]any {
	values := map[string]any{
		"cluster":     map[string]any{"name": clusterName},
		"repository":  map[string]any{"url": i.repo.URL(), "poll": "1s"},
		"credentials": map[string]any{"existingSecret": secretName},
	}
	for key, value := range more {
		values[key] = value
	}
	return values
}

// serveExample serves the example fleet over HTTPS with an authority of its own and a password.
func (i *installation) serveExample(t *testing.T) {
	t.Helper()
	var err error
	if i.git, err = gittest.Start(gittest.Options{TLS: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.git.Close(); err != nil {
			t.Error(err)
		}
	})
	i.git.SetBasicAuth("agent", "correct horse")
	if i.repo, err = i.git.NewRepo("fleet"); err != nil {
		t.Fatal(err)
	}
	if _, err = i.repo.Commit(gittest.Tree("../examples/fleet-repo", "")); err != nil {
		t.Fatal(err)
	}
}

func (i *installation) prepareNamespace(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace,
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := i.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName}, Data: map[string][]byte{
		"username": []byte("agent"), "password": []byte("correct horse"), "ca.crt": i.git.CA()}}
	if _, err := i.client.CoreV1().Secrets(Namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// agentPod waits for the pod that the StatefulSet controller makes, past admission and quota.
func (i *installation) agentPod(t *testing.T) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, nil, func(ctx context.Context) (err error) {
		pod, err = i.client.CoreV1().Pods(Namespace).Get(ctx, ReleaseName+"-0", metav1.GetOptions{})
		return err
	})
	return pod
}

type app struct {
	ready  bool
	errors string // all errors and the conditions' messages
}

// apps reads the AppStatus objects.
func (i *installation) apps(ctx context.Context) (map[string]app, error) {
	list, err := i.dynamic.Resource(appStatuses).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list AppStatus objects: %w", err)
	}
	apps := map[string]app{}
	for _, item := range list.Items {
		var a app
		conditions, _, err := unstructured.NestedSlice(item.Object, "status", "conditions")
		if err != nil {
			return nil, err
		}
		for _, c := range conditions {
			condition, _ := c.(map[string]any)
			a.errors += fmt.Sprintf("%v: %v\n", condition["type"], condition["message"])
			a.ready = a.ready || condition["type"] == "Ready" && condition["status"] == "True"
		}
		found, _, err := unstructured.NestedSlice(item.Object, "status", "errors")
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			one, _ := e.(map[string]any)
			a.errors += fmt.Sprintf("%v: %v\n", one["object"], one["message"])
		}
		apps[item.GetName()] = a
	}
	return apps, nil
}

// allReady is an error until every app of the example that runs on this cluster is Ready.
func (i *installation) allReady(ctx context.Context) error {
	apps, err := i.apps(ctx)
	if err != nil {
		return err
	}
	return onlyNotReady(apps, nil)
}

func onlyNotReady(apps map[string]app, denied []string) error {
	want := []string{"access", "backup", "backup-schedules", "checkout", "cluster-us-east-1", "ingress", "monitoring", "orders-db", "storefront", "team-ads", "team-search"}
	var errs []error
	for _, name := range want {
		found, ok := apps[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("no AppStatus %s", name))
		case !found.ready && !slices.Contains(denied, name):
			errs = append(errs, fmt.Errorf("AppStatus %s is not Ready: %s", name, found.errors))
		}
	}
	return errors.Join(errs...)
}

// applied lists every object that carries the agent's label.
func (i *installation) applied(t *testing.T) []string {
	t.Helper()
	_, lists, err := i.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			if strings.Contains(resource.Name, "/") || !slices.Contains(resource.Verbs, "list") || version.Group == "holdfast.dev" {
				continue
			}
			found, err := i.dynamic.Resource(version.WithResource(resource.Name)).
				List(t.Context(), metav1.ListOptions{LabelSelector: "holdfast.dev/app"})
			if err != nil {
				t.Fatalf("list %s: %v", resource.Name, err)
			}
			for _, item := range found.Items {
				names = append(names, fmt.Sprintf("%s.%s/%s/%s", resource.Name, version.Group, item.GetNamespace(), item.GetName()))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func missing(before, after []string) []string {
	var gone []string
	for _, name := range before {
		if _, ok := slices.BinarySearch(after, name); !ok {
			gone = append(gone, name)
		}
	}
	return gone
}

// onlyTheServiceAccount holds that the agent's requests came with its token, and that after the grant none was refused.
func (i *installation) onlyTheServiceAccount(t *testing.T, agent *kubelet) {
	t.Helper()
	requests, err := i.cluster.Requests(0)
	if err != nil {
		t.Fatal(err)
	}
	user := "system:serviceaccount:" + Namespace + ":" + agent.pod.Spec.ServiceAccountName
	asked, refused := 0, map[string]int{}
	for _, request := range requests {
		switch {
		case strings.HasPrefix(request.UserAgent, "holdfast/") && request.User != user:
			t.Errorf("the agent asked as %q: %s", request.User, request)
		case request.User == user:
			asked++
			if request.Code == http.StatusForbidden {
				refused[request.Verb+" "+request.Resource.String()]++
			}
		}
	}
	if asked == 0 {
		t.Error("the API server has no request of the ServiceAccount")
	}
	for what, times := range refused {
		if !strings.Contains(what, "networkpolicies") {
			t.Errorf("the rules that the chart always grants lack %s (refused %d times)", what, times)
		}
	}
	t.Logf("%d requests as %s; refused: %v", asked, user, refused)
}

// rules returns the values that grant what the example needs, without one resource.
func rules(t *testing.T, without ...string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "example-rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		RBAC struct {
			Mode  string           `json:"mode"`
			Rules []map[string]any `json:"rules"`
		} `json:"rbac"`
	}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	granted := []any{}
	for _, rule := range values.RBAC.Rules {
		resources, _ := rule["resources"].([]any)
		if !slices.ContainsFunc(resources, func(r any) bool { return slices.Contains(without, fmt.Sprint(r)) }) {
			granted = append(granted, rule)
		}
	}
	if len(granted)+len(without) != len(values.RBAC.Rules) {
		t.Fatalf("testdata/example-rules.yaml has no rule for %v alone", without)
	}
	return map[string]any{"rbac": map[string]any{"mode": values.RBAC.Mode, "rules": granted}}
}

func buildAgent(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "holdfast")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/agent") //nolint:gosec // no foreign input
	command.Dir = ".."
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, output)
	}
	return binary
}

// eventually polls until check has no error, and fails at once when the agent has ended (nil: there is none yet).
func eventually(t *testing.T, agent *kubelet, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err // what is missing, and not that the time is up
		}
		if agent != nil {
			if ended := agent.alive(); ended != nil {
				t.Fatalf("%v; %v", ended, err)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", settle, last)
		case <-tick.C:
		}
	}
}
