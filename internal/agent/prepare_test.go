package agent

import (
	"context"
	"reflect"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// An object without a namespace in its manifest is the one in "default", also while it is invalid or belongs to content
// that is held back: it must not be taken for one that Git dropped.
func TestNamespaceIsFilledInWhateverIsWrong(t *testing.T) {
	c := testCompiler(map[string]tree.Tree{"old": oneCluster()})
	invalid := oneCluster().with(map[string]string{
		"apps/db/app.yaml": appFile("db", "substitute: true"),
		"apps/db/a.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: \"${nowhere}\"}\n",
	})
	out, err := c.compile(t.Context(), request{commit: "invalid", tree: invalid})
	if err != nil {
		t.Fatal(err)
	}
	if bad := out.desired.Apps[0].Invalid; len(bad) == 0 {
		t.Error("nothing is wrong")
	} else if bad[0].ID.Namespace != "default" {
		t.Errorf("invalid: %v", bad[0].ID)
	}

	frozen := oneCluster().with(map[string]string{
		"fleet.yaml":                 header + "kind: Fleet\nmetadata: {name: f}\nspec: {freeze: [{clusterSelector: {}}]}\n",
		"apps/db/kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
		"apps/db/b.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
	})
	out, err = c.compile(t.Context(), request{commit: "frozen", tree: frozen, apps: map[string]known{"db": {adopted: adopted{Revision: "old", Content: "old"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for id := range out.desired.Claimed {
		if id.Namespace != "default" {
			t.Errorf("claimed: %v", id)
		}
	}
	if len(out.desired.Claimed) != 2 || len(out.desired.Apps[0].Objects) != 1 {
		t.Errorf("claimed: %v; objects: %d", out.desired.Claimed, len(out.desired.Apps[0].Objects))
	}
}

// A commit hands the engine the same slice and the same map for every app that it does not change, so that the engine
// need not look into them; what an app's objects were prepared with may change all the same.
func TestWhatIsUnchangedIsTheSame(t *testing.T) {
	web := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}}\n"
	files := oneCluster().with(map[string]string{
		"apps/web/app.yaml":           appFile("web", ""),
		"apps/web/kustomization.yaml": "resources: [web.yaml, widget.yaml, role.yaml]\n",
		"apps/web/web.yaml":           web,
		"apps/web/widget.yaml":        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n",
		"apps/web/role.yaml":          "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n",
	})
	c := testCompiler(map[string]tree.Tree{})
	serves := false // the kind Widget
	c.resolve = func(_ context.Context, gvk schema.GroupVersionKind) (kube.Resource, error) {
		if gvk.Kind == "Widget" && !serves {
			return kube.Resource{}, &meta.NoKindMatchError{GroupKind: gvk.GroupKind()}
		}
		return kube.Resource{GroupVersionKind: gvk, Namespaced: gvk.Kind != "ClusterRole"}, nil
	}
	n := 0
	compile := func(change map[string]string) (db, web apply.App) {
		t.Helper()
		files = files.with(change)
		n++
		out, err := c.compile(t.Context(), request{commit: strconv.Itoa(n), tree: files})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.ignore) != len(out.desired.Apps[1].Ignore) {
			t.Errorf("%d objects with ignored fields in all, %d of the app", len(out.ignore), len(out.desired.Apps[1].Ignore))
		}
		return out.desired.Apps[0], out.desired.Apps[1]
	}
	sameMap := func(a, b apply.App) bool {
		return reflect.ValueOf(a.Ignore).UnsafePointer() == reflect.ValueOf(b.Ignore).UnsafePointer()
	}

	db1, web1 := compile(nil)
	if len(web1.Ignore) != 1 {
		t.Errorf("fields left to others: %v", web1.Ignore)
	}
	db2, web2 := compile(map[string]string{"apps/db/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: new}\n"})
	if same(db1.Objects, db2.Objects) || db1.Objects[0].Hash == db2.Objects[0].Hash {
		t.Error("the app that changed did not")
	}
	if !same(web1.Objects, web2.Objects) || !sameMap(web1, web2) {
		t.Error("the app that did not change is another")
	}

	_, web3 := compile(map[string]string{"apps/web/app.yaml": appFile("web", "drift: {ignore: [{kind: Widget, fields: [/spec/size]}]}")})
	if len(web3.Ignore) != 2 {
		t.Errorf("with another policy: %v", web3.Ignore)
	}
	namespaces := func(a apply.App) map[string]string {
		all := map[string]string{}
		for _, o := range a.Objects {
			all[o.ID.GroupKind.Kind] = o.ID.Namespace
		}
		return all
	}
	if got, want := namespaces(web3), map[string]string{"Deployment": "default", "Widget": "", "ClusterRole": ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("namespaces: %v, want %v", got, want)
	}
	serves = true
	_, web4 := compile(nil)
	if got, want := namespaces(web4), map[string]string{"Deployment": "default", "Widget": "default", "ClusterRole": ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("namespaces once the kind is served: %v, want %v", got, want)
	}
	if len(web4.Ignore) != 2 {
		t.Errorf("fields left to others once the kind is served: %v", web4.Ignore)
	}
}
