package localcluster

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"b"}}`

// Two clusters at once, each with its own data; the full one rolls out a Deployment.
func TestFullCluster(t *testing.T) {
	t.Parallel()
	c := startForTest(t, Options{Name: "full", Nodes: ZonalNodes("us-east-1", 2)})
	admin := userOf(t, c.Kubeconfig())

	nodes := admin.want(t, 200, "GET", "/api/v1/nodes?labelSelector=topology.kubernetes.io/zone%3Dus-east-1b", "")
	if items, _ := nodes["items"].([]any); len(items) != 1 {
		t.Errorf("nodes in the second zone: %d, want 1", len(items))
	}

	version := admin.want(t, 200, "GET", "/version", "")
	if v, _ := version["gitVersion"].(string); !strings.HasPrefix(v, "v1.") {
		t.Errorf("version %q: clients cannot parse it", v)
	}

	admin.want(t, 201, "POST", "/apis/apps/v1/namespaces/default/deployments", `{
		"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},
		"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{
			"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"example.com/web"}]}}}}`)
	eventually(t, 30*time.Second, "two Pods available", func() bool {
		status, _ := admin.want(t, 200, "GET", "/apis/apps/v1/namespaces/default/deployments/web", "")["status"].(map[string]any)
		return status["availableReplicas"] == 2.0
	})

	// A namespace and all in it goes, which takes a controller.
	admin.want(t, 201, "POST", "/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"other"}}`)
	admin.want(t, 201, "POST", "/api/v1/namespaces/other/configmaps", configMap)
	admin.want(t, 200, "DELETE", "/api/v1/namespaces/other", "")
	eventually(t, 30*time.Second, "the namespace is gone", func() bool {
		code, _ := admin.do(t, "GET", "/api/v1/namespaces/other", "")
		return code == http.StatusNotFound
	})

	// An aggregated API whose server is down takes only its own group with it.
	admin.want(t, 201, "POST", "/apis/apiregistration.k8s.io/v1/apiservices", `{
		"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.down.example.com"},
		"spec":{"group":"down.example.com","version":"v1","groupPriorityMinimum":10,"versionPriority":10,
			"insecureSkipTLSVerify":true,"service":{"name":"down","namespace":"default"}}}`)
	eventually(t, 30*time.Second, "the aggregated API answers 503", func() bool {
		code, _ := admin.do(t, "GET", "/apis/down.example.com/v1", "")
		return code == http.StatusServiceUnavailable
	})
	admin.want(t, 200, "GET", "/api/v1/namespaces/default/configmaps", "")
}

func TestUsersAreBoundByRBAC(t *testing.T) {
	t.Parallel()
	c := startForTest(t, Options{Name: "rbac", Bare: true})
	admin := userOf(t, c.Kubeconfig())
	path, err := c.KubeconfigFor("system:weird/User", "readers", "others")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: mode %v (%v), want only the owner to read it", info.Mode(), err)
	}
	reader := userOf(t, path)
	const maps = "/api/v1/namespaces/default/configmaps"

	reader.want(t, 403, "GET", maps, "")
	admin.want(t, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{
		"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"readers"},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},
		"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"readers"}]}`)
	// The bare cluster has no controller that aggregates "view" from its parts.
	admin.want(t, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", `{
		"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"read-maps"},
		"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["list"]}]}`)
	admin.want(t, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{
		"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"read-maps"},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"read-maps"},
		"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"readers"}]}`)
	eventually(t, 10*time.Second, "the binding takes effect", func() bool {
		code, _ := reader.do(t, "GET", maps, "")
		return code == http.StatusOK
	})
	reader.want(t, 403, "POST", maps, configMap)
}

func TestAuditLogCountsRequests(t *testing.T) {
	t.Parallel()
	c := startForTest(t, Options{Name: "audit", Bare: true})
	admin := userOf(t, c.Kubeconfig())
	const maps = "/api/v1/namespaces/default/configmaps"
	admin.want(t, 200, "GET", maps, "")

	mark, err := c.Mark()
	if err != nil {
		t.Fatal(err)
	}
	admin.want(t, 201, "POST", maps, configMap)
	for range 20 {
		admin.want(t, 200, "GET", maps+"/x", "")
	}
	admin.want(t, 404, "GET", maps+"/missing", "")
	admin.want(t, 200, "GET", maps+"?watch=true&timeoutSeconds=1", "") // read to its end
	admin.want(t, 200, "DELETE", maps+"/x", "")

	all, err := c.Requests(mark)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, r := range all {
		if r.UserAgent == "test-agent" {
			counts[r.Verb]++
		}
	}
	want := map[string]int{"create": 1, "get": 21, "watch": 1, "delete": 1}
	for verb, n := range want {
		if counts[verb] != n {
			t.Errorf("%d requests %s, want %d", counts[verb], verb, n)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("requests by verb: %v, want %v", counts, want)
	}
	i := slices.IndexFunc(all, func(r Request) bool { return r.Code == 404 && r.UserAgent == "test-agent" })
	if i < 0 {
		t.Fatal("the request that failed is not in the log")
	}
	got := all[i]
	if got.Done.Before(got.Time) {
		t.Errorf("received at %s and answered at %s", got.Time, got.Done)
	}
	got.Time, got.Done, got.URI = time.Time{}, time.Time{}, ""
	wantRequest := Request{
		Verb: "get", User: "localcluster-admin", UserAgent: "test-agent",
		Resource: Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default", Name: "missing", Code: 404,
	}
	if got != wantRequest {
		t.Errorf("request %+v, want %+v", got, wantRequest)
	}
}

func TestAPIServerRestarts(t *testing.T) {
	t.Parallel()
	c := startForTest(t, Options{Name: "restart", Bare: true})
	admin := userOf(t, c.Kubeconfig())
	url := c.URL()
	admin.want(t, 201, "POST", "/api/v1/namespaces/default/configmaps", configMap)

	for _, end := range []struct {
		name string
		stop func() error
	}{{"SIGTERM", c.StopAPIServer}, {"SIGKILL", c.KillAPIServer}} {
		if err := end.stop(); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		if resp, err := admin.client.Get(url + "/readyz"); err == nil {
			t.Errorf("%s: the API server still answers: %s", end.name, resp.Status)
			_ = resp.Body.Close()
		}
		if err := c.StartAPIServer(t.Context()); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		if c.URL() != url {
			t.Errorf("%s: address %s, was %s", end.name, c.URL(), url)
		}
		admin.want(t, 200, "GET", "/api/v1/namespaces/default/configmaps/x", "")
	}
	if _, err := c.Requests(0); err != nil {
		t.Errorf("audit log over restarts: %v", err)
	}

	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if !gone(c.Dir()) {
		t.Errorf("folder %s is left", c.Dir())
	}
	if left := processesIn(t, c.Dir()); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if err := c.StartAPIServer(t.Context()); err == nil {
		t.Error("a stopped cluster's API server was started")
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	if err := os.WriteFile(full+"/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options Options
		want    string
		server  bool // whether the servers are needed
	}{
		{"bad name", Options{Name: "No_Name"}, "not a DNS label", false},
		{"nodes on a bare cluster", Options{Bare: true, Nodes: ZonalNodes("x", 1)}, "has no nodes", false},
		{"folder in use", Options{Bare: true, Dir: full}, "not empty: it has mine", true},
		{"bad flag", Options{Bare: true, APIServerFlags: []string{"--no-such-flag"}}, "unknown flag: --no-such-flag", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.server && testing.Short() {
				t.Skip("needs a local control plane")
			}
			c, err := Start(t.Context(), test.options)
			if err == nil {
				t.Fatal("it started", c.Stop())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want it to say %q", err, test.want)
			}
		})
	}
	if gone(full + "/mine") {
		t.Error("a file that was there before is gone")
	}
}
