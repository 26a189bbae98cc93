package kube

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

func TestMapper(t *testing.T) {
	var crd atomic.Bool
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		body := ""
		switch r.URL.Path {
		case "/apis/apps":
			body = `{"kind":"APIGroup","name":"apps","versions":[{"version":"v1beta1"},{"version":"v1"}],"preferredVersion":{"version":"v1"}}`
		case "/apis/apps/v1":
			body = `{"kind":"APIResourceList","resources":[{"name":"deployments","kind":"Deployment","namespaced":true,"verbs":["watch"]},{"name":"deployments/scale","kind":"Scale","namespaced":true}]}`
		case "/api/v1":
			body = `{"kind":"APIResourceList","resources":[{"name":"namespaces","kind":"Namespace","verbs":["watch"]},{"name":"bindings","kind":"Binding","namespaced":true,"verbs":["create"]}]}`
		case "/apis/x.io/v1":
			if crd.Load() {
				body = `{"kind":"APIResourceList","resources":[{"name":"widgets","kind":"Widget","verbs":["watch"]}]}`
			}
		case "/apis/broken.io/v1":
			w.WriteHeader(http.StatusServiceUnavailable)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","code":503,"reason":"ServiceUnavailable","message":"down"}`
		}
		if body == "" {
			w.WriteHeader(http.StatusNotFound)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound","message":"the server could not find the requested resource"}`
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	c, err := New(&rest.Config{Host: srv.URL}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.Mapper.now = func() time.Time { return now }
	ctx := context.Background()

	deploy, err := c.Mapper.Resolve(ctx, schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"})
	if err != nil || !deploy.Namespaced || !deploy.Scalable || !deploy.Watchable || deploy.GVR().String() != "apps/v1, Resource=deployments" {
		t.Fatalf("deployments: %+v, %v", deploy, err)
	}
	if ns, err := c.Mapper.ResolveKind(ctx, schema.GroupKind{Kind: "Namespace"}); err != nil || ns.Namespaced || ns.Version != "v1" {
		t.Errorf("namespaces: %+v, %v", ns, err)
	}
	if r, err := c.Mapper.ResolveKind(ctx, schema.GroupKind{Group: "apps", Kind: "Deployment"}); err != nil || r.Version != "v1" {
		t.Errorf("preferred version: %+v, %v", r, err)
	}
	before := asked.Load()
	if _, err := c.Mapper.Resolve(ctx, deploy.GroupVersionKind); err != nil || asked.Load() != before {
		t.Errorf("a known kind was asked for again (%v)", err)
	}

	broken := schema.GroupVersionKind{Group: "broken.io", Version: "v1", Kind: "Thing"}
	if _, err := c.Mapper.Resolve(ctx, broken); err == nil || meta.IsNoMatchError(err) {
		t.Errorf("a group that is down must be unknown, got %v", err)
	}

	widget := schema.GroupVersionKind{Group: "x.io", Version: "v1", Kind: "Widget"}
	before = asked.Load()
	for range 10 {
		if _, err := c.Mapper.Resolve(ctx, widget); !meta.IsNoMatchError(err) {
			t.Fatalf("want no match, got %v", err)
		}
	}
	if n := asked.Load() - before; n != 1 {
		t.Errorf("a missing kind cost %d requests at once", n)
	}
	crd.Store(true)
	now = now.Add(retryAfter)
	if r, err := c.Mapper.Resolve(ctx, widget); err != nil || r.Plural != "widgets" {
		t.Errorf("a new kind is not found: %+v, %v", r, err)
	}
	crd.Store(false)
	c.Mapper.Forget("x.io")
	if _, err := c.Mapper.Resolve(ctx, widget); !meta.IsNoMatchError(err) {
		t.Errorf("want no match after Forget, got %v", err)
	}
}
