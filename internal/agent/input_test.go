package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

// Objects at and beyond what an API server stores: what fits is applied, what does not is an error by
// name, and neither delays the others.
func TestHugeObjects(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.apply(crd("Widget", "Namespaced"))
	widget := func(name string, size int) string {
		return strings.Replace(custom("Widget", "name: "+name+", namespace: NS"), "size: 1", "text: "+strings.Repeat("x", size), 1)
	}
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: fits-secret, namespace: NS}\nstringData: {key: " + strings.Repeat("s", 1000_000) + "}\n"
	e.app("", map[string]string{
		"a.yaml": configMap("a", "1"), "z.yaml": configMap("z", "1"), "secret.yaml": secret,
		"fits.yaml": widget("fits", 1_400_000), "large.yaml": widget("too-large", 2_000_000),
		"map.yaml": configMap("too-large-map", strings.Repeat("m", 1_400_000)),
	})
	e.start()
	e.waitErrors("", "/too-large:", "larger than the API server stores", "/too-large-map:", "Too long")
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	e.waitValue("1", "v1", "ConfigMap", "z", "data", "key")
	e.eventually("what fits", func() string {
		if _, err := e.in(e.id+".example.com/v1", "Widget", e.ns).Get(t.Context(), "fits", getOptions); err != nil {
			return err.Error()
		}
		if e.get("v1", "Secret", "fits-secret") == nil {
			return "the Secret is absent"
		}
		return ""
	})
	e.eventually("two errors", func() string { // there were more while the kind was not known to be served
		if s := e.status(""); len(s.Status.Errors) != 2 || len(s.errors()) > 4000 {
			return fmt.Sprintf("%d: %.2000s", len(s.Status.Errors), s.errors())
		}
		return ""
	})
	e.waitReady(e.commit(map[string]string{"apps/APP/large.yaml": widget("too-large", 10), "apps/APP/map.yaml": configMap("too-large-map", "1")}))
}

// Five thousand objects of one app cost little more than one request each, and a restart none.
func TestThousandsOfObjects(t *testing.T) {
	t.Parallel()
	e := newEnv(t, localclustertest.Start(t, localcluster.Options{Name: "thousands", Bare: true}))
	const count = 5000
	var b strings.Builder
	for i := range count {
		b.WriteString("---\n" + configMap(fmt.Sprintf("f%04d", i), "1"))
	}
	sha := e.app("", map[string]string{"all.yaml": b.String()})
	e.start()
	e.waitQuiet(sha)
	list, err := e.clients.Kubernetes.CoreV1().ConfigMaps(e.ns).List(context.Background(), metav1.ListOptions{LabelSelector: "holdfast.dev/app=" + e.id})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != count || len(e.inventory()) != count {
		t.Errorf("%d objects are live and %d in the inventory, want %d", len(list.Items), len(e.inventory()), count)
	}
	if n := len(e.requests(0)); n > count*12/10 {
		t.Errorf("%d requests for %d objects", n, count)
	}

	e.stop()
	mark := e.mark()
	e.patch("kubectl-edit", "v1", "ConfigMap", "f2500", `{"data": {"key": "edited"}}`)
	e.start()
	e.waitValue("1", "v1", "ConfigMap", "f2500", "data", "key")
	e.waitQuiet(sha)
	for _, r := range e.requests(mark) {
		if strings.HasPrefix(r, "patch configmaps "+e.ns+"/") && !strings.HasSuffix(r, "/f2500") {
			t.Errorf("the restart sent: %s", r)
		}
	}
}

// Names of RBAC objects may have nearly any character, and names may be as long as the API server
// allows: such objects are applied, remembered over a restart, and pruned.
func TestUnusualNames(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	role := func(name string) string {
		return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %q}\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]\n", name)
	}
	names := []string{"APP:Team:View", "APP__Team:View", "APP_under_lines_", "APP with spaces", "APP-équipe"}
	long := strings.Repeat("long-name.", 25) + "end" // 253 characters
	var b strings.Builder
	for _, name := range names {
		b.WriteString("---\n" + role(name))
	}
	e.apply(crd("Widget"+strings.Repeat("x", 50), "Namespaced"))
	files := map[string]string{
		"roles.yaml": b.String(), "long.yaml": configMap(long, "1"), "a.yaml": configMap("a", "1"),
		"wide.yaml": custom("Widget"+strings.Repeat("x", 50), "name: "+long+", namespace: NS"),
	}
	sha := e.app("", files)
	e.start()
	e.waitQuiet(sha)
	e.stop()
	mark := e.mark()
	e.waitServing(e.restart())
	e.waitQuiet(sha)
	for _, r := range e.requests(mark) {
		if strings.HasPrefix(r, "patch") && !strings.Contains(r, " "+e.instance+"/") {
			t.Errorf("the restart sent: %s", r)
		}
	}
	if got := len(e.inventory()); got != len(names)+3 {
		t.Errorf("the inventory lists %d objects: %v", got, e.inventory())
	}
	sha = e.commit(map[string]string{
		"apps/APP/roles.yaml": role(names[0]), "apps/APP/kustomization.yaml": kustomization("roles.yaml", "a.yaml"),
		"apps/APP/long.yaml": "", "apps/APP/wide.yaml": "",
	})
	e.waitReady(sha)
	e.waitInventory("APP:Team:View", "a")
	for _, name := range names[1:] {
		if e.get("rbac.authorization.k8s.io/v1", "ClusterRole", name) != nil {
			t.Errorf("ClusterRole %q is still there", name)
		}
	}
}

// What a repository may hold besides manifests, or in their place: links that leave it, a file of forty
// megabytes, bytes that are no YAML. Each is an error of its own app, by name; what was applied before
// stays and is healed, and other apps go on.
func TestOddFiles(t *testing.T) {
	huge := strings.Repeat("# forty megabytes of comments, which compress well\n", 40<<20/51)
	cases := map[string]struct {
		change gittest.Change
		words  []string
	}{
		"link out of the repository":   {gittest.Symlink("apps/odd/a.yaml", "../../../../../../etc/passwd"), []string{"a.yaml", "leads out of the tree"}},
		"absolute link":                {gittest.Symlink("apps/odd/a.yaml", "/etc/passwd"), []string{"a.yaml"}},
		"link to itself":               {gittest.Symlink("apps/odd/a.yaml", "a.yaml"), []string{"a.yaml"}},
		"folder out of the repository": {gittest.Symlink("apps/odd/kustomization.yaml", "../../../../etc/kustomization.yaml"), []string{"kustomization.yaml"}},
		"huge file":                    {gittest.Write("apps/odd/a.yaml", huge), []string{"a.yaml", "that a file may have"}},
		"binary":                       {gittest.Write("apps/odd/a.yaml", "\x00\x01\x02\xff\xfe{{{\x00"), []string{"a.yaml"}},
		"not closed":                   {gittest.Write("apps/odd/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a"), []string{"a.yaml"}},
		"no manifest":                  {gittest.Write("apps/odd/a.yaml", "just: some\ntext: here\n"), []string{"a.yaml"}},
		"alias bomb": {gittest.Write("apps/odd/a.yaml", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"+
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n"+
			"kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n"), []string{"a.yaml"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, bare.Cluster(t))
			files := appFiles("apps/odd", strings.Replace(appYAML(""), "APP", "APP-odd", 1), map[string]string{"a.yaml": configMap("a", "1")})
			for path, content := range appFiles("apps/well", appYAML(""), map[string]string{"w.yaml": configMap("w", "1")}) {
				files[path] = content
			}
			e.commit(files)
			e.start()
			e.waitReady("")
			e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
			mark := e.mark()
			if _, err := e.repo.Commit(c.change); err != nil {
				t.Fatal(err)
			}
			e.waitErrors(e.id+"-odd", c.words...)
			e.commit(map[string]string{"apps/well/w.yaml": configMap("w", "2")})
			e.waitValue("2", "v1", "ConfigMap", "w", "data", "key")
			e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"key": "edited"}}`)
			e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
			e.noDeletions(mark)
			e.waitInventory("a", "w")
			if _, err := e.repo.Commit(gittest.Delete("apps/odd"), gittest.Files(map[string]string{
				"apps/odd/app.yaml": e.fill(strings.Replace(appYAML(""), "APP", "APP-odd", 1)), "apps/odd/a.yaml": e.fill(configMap("a", "3")),
				"apps/odd/kustomization.yaml": kustomization("a.yaml"),
			})); err != nil {
				t.Fatal(err)
			}
			e.waitValue("3", "v1", "ConfigMap", "a", "data", "key")
		})
	}
}
