package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

const (
	clusterName = "bench"
	perApp      = 4 // objects
	perTeam     = 50
	namespaces  = 5
)

// fleetData is a fleet repository of a size, and what it comes to.
type fleetData struct {
	objects int // namespaces not counted
	repo    *gittest.Repo
	items   []item
	// manifests is a file of all objects as YAML documents, bodies one of items as JSON.
	manifests, bodies string
	changes           int            // that were committed
	values            map[int]string // of ConfigMaps that were changed, by app
}

// item is one server-side-apply PATCH.
type item struct {
	Path      string `json:"path"` // of the URL
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Body      json.RawMessage
}

// key names an item as the audit log does.
func (i *item) key() string { return i.Resource + "/" + i.Namespace + "/" + i.Name }

func appName(i int) string      { return fmt.Sprintf("app-%05d", i) }
func appNamespace(i int) string { return fmt.Sprintf("bench-%d", i%namespaces) }

// configMap is the one object of an app that workloads change.
func configMap(i int, value string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app: %[1]s}
data:
  greeting: %[3]q
  log.level: info
  settings.yaml: |
    cache: {size: 128, ttl: 5m}
    features: [search, checkout, wishlist]
`, appName(i), appNamespace(i), value)
}

// appDir is the folder of an app, in one of its team: a folder with thousands of others would be a tree object of
// a hundred kilobytes, which every commit replaces.
func appDir(i int) string { return fmt.Sprintf("apps/team-%02d/%s", i/perTeam, appName(i)) }

// fleetFiles are the files of a fleet with one cluster and apps of four objects: a ConfigMap, a
// ServiceAccount, a Service and a Deployment at 0 replicas, in a file each. The same size gives the same
// files. The namespaces are the cluster's own app.
func fleetFiles(objects int) map[string]string {
	files := map[string]string{
		"clusters/bench/cluster.yaml":       "apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: bench, labels: {env: prod}}\n",
		"clusters/bench/kustomization.yaml": "resources: [namespaces.yaml]\n",
	}
	var list strings.Builder
	for i := range namespaces {
		fmt.Fprintf(&list, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", appNamespace(i))
	}
	files["clusters/bench/namespaces.yaml"] = list.String()
	for i := range objects / perApp {
		name, ns, dir := appName(i), appNamespace(i), appDir(i)
		files[dir+"/app.yaml"] = fmt.Sprintf("apiVersion: holdfast.dev/v1alpha1\nkind: App\nmetadata: {name: %s}\n", name)
		files[dir+"/kustomization.yaml"] = "resources: [configmap.yaml, deployment.yaml, service.yaml, serviceaccount.yaml]\n"
		files[dir+"/configmap.yaml"] = configMap(i, "hello")
		for f, content := range others(i) {
			files[dir+"/"+f] = content
		}
		files[dir+"/deployment.yaml"] = deployment(name, ns)
	}
	return files
}

// others are the files of the ServiceAccount and the Service of an app.
func others(i int) map[string]string {
	name, ns := appName(i), appNamespace(i)
	meta := fmt.Sprintf("metadata:\n  name: %[1]s\n  namespace: %[2]s\n  labels: {app: %[1]s}\n", name, ns)
	return map[string]string{
		"serviceaccount.yaml": "apiVersion: v1\nkind: ServiceAccount\n" + meta + "automountServiceAccountToken: false\n",
		"service.yaml":        "apiVersion: v1\nkind: Service\n" + meta + "spec:\n  selector: {app: " + name + "}\n  ports:\n  - {name: http, port: 80, targetPort: http}\n",
	}
}

func deployment(name, ns string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app: %[1]s}
spec:
  replicas: 0
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      serviceAccountName: %[1]s
      containers:
      - name: main
        image: registry.example.com/team/%[1]s:1.4.2
        args: [--listen=:8080, --config=/etc/app/settings.yaml]
        ports:
        - {name: http, containerPort: 8080}
        env:
        - name: GREETING
          valueFrom:
            configMapKeyRef: {name: %[1]s, key: greeting}
        resources:
          requests: {cpu: 50m, memory: 64Mi}
          limits: {memory: 128Mi}
        readinessProbe:
          httpGet: {path: /ready, port: http}
        volumeMounts:
        - {name: settings, mountPath: /etc/app}
      volumes:
      - name: settings
        configMap: {name: %[1]s}
`, name, ns)
}

// fleet returns the fleet of so many objects; it is made once.
func (l *lab) fleet(ctx context.Context, objects int) (*fleetData, error) {
	if f := l.fleets[objects]; f != nil {
		return f, nil
	}
	f := &fleetData{objects: objects, values: map[int]string{}}
	var err error
	if f.repo, err = l.git.NewRepo(fmt.Sprintf("fleet-%d", objects)); err != nil { //nolint:contextcheck // quick and local
		return nil, err
	}
	if _, err := f.repo.Commit(gittest.Files(fleetFiles(objects))); err != nil { //nolint:contextcheck // quick and local
		return nil, err
	}
	if f.items, err = l.render(ctx, f.repo.Dir); err != nil {
		return nil, err
	}
	if want := objects + namespaces; len(f.items) != want {
		return nil, fmt.Errorf("the fleet of %d objects renders %d, want %d", objects, len(f.items), want)
	}
	f.manifests = filepath.Join(l.dir, fmt.Sprintf("manifests-%d.yaml", objects))
	f.bodies = filepath.Join(l.dir, fmt.Sprintf("bodies-%d.json", objects))
	var manifests bytes.Buffer
	for _, i := range f.items {
		manifests.WriteString("---\n")
		manifests.Write(i.Body)
		manifests.WriteString("\n")
	}
	b, err := json.Marshal(f.items)
	if err := errors.Join(err, os.WriteFile(f.manifests, manifests.Bytes(), 0o600), os.WriteFile(f.bodies, b, 0o600)); err != nil {
		return nil, err
	}
	l.fleets[objects] = f
	return f, nil
}

// render asks the program what it would apply and returns it as requests: the namespaces first, then app by
// app, which mixes the kinds.
func (l *lab) render(ctx context.Context, dir string) ([]item, error) {
	out, err := exec.CommandContext(ctx, l.agent, "render", "--repo", dir, "--cluster", clusterName).Output() //nolint:gosec // ours
	if err != nil {
		return nil, fmt.Errorf("render the fleet: %w", err)
	}
	var first, then []item
	for d := yaml.NewDecoder(bytes.NewReader(out)); ; {
		var object map[string]any
		err := d.Decode(&object)
		if errors.Is(err, io.EOF) {
			return append(first, then...), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the rendered fleet: %w", err)
		}
		i, err := newItem(object)
		if err != nil {
			return nil, err
		}
		if i.Resource == "namespaces" {
			first = append(first, i)
		} else {
			then = append(then, i)
		}
	}
}

func newItem(object map[string]any) (item, error) {
	meta, _ := object["metadata"].(map[string]any)
	kind, _ := object["kind"].(string)
	version, _ := object["apiVersion"].(string)
	i := item{Resource: strings.ToLower(kind) + "s"}
	i.Name, _ = meta["name"].(string)
	i.Namespace, _ = meta["namespace"].(string)
	i.Path = "/apis/" + version
	if version == "v1" {
		i.Path = "/api/v1"
	}
	if i.Namespace != "" {
		i.Path += "/namespaces/" + i.Namespace
	}
	i.Path += "/" + i.Resource + "/" + i.Name
	var err error
	i.Body, err = json.Marshal(object)
	return i, err
}

// change commits a new value of one app's ConfigMap and returns it.
func (f *fleetData) change(app int) (value string, err error) {
	f.changes++
	value = fmt.Sprintf("change %d", f.changes)
	f.values[app] = value
	_, err = f.repo.Commit(gittest.Write(appDir(app)+"/configmap.yaml", configMap(app, value)))
	return value, err
}

// value is what an app's ConfigMap has at the branch's head.
func (f *fleetData) value(app int) string {
	if v, ok := f.values[app]; ok {
		return v
	}
	return "hello"
}
