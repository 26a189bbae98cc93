package kube

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestExplain(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	invalid := func(kind string, errs ...*field.Error) error {
		return apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: kind}, "web", errs)
	}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"no rule in a namespace",
			apierrors.NewForbidden(deployments, "web", errors.New(`User "system:serviceaccount:hf:agent" cannot patch resource "deployments" in API group "apps" in the namespace "shop"`)),
			`system:serviceaccount:hf:agent may not patch deployments.apps in namespace shop: its Role or ClusterRole lacks {apiGroups: ["apps"], resources: ["deployments"], verbs: ["patch"]}`},
		{"no rule at cluster scope",
			apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "", errors.New(`User "agent" cannot list resource "namespaces" in API group "" at the cluster scope`)),
			`agent may not list namespaces: its ClusterRole lacks {apiGroups: [""], resources: ["namespaces"], verbs: ["list"]}`},
		{"quota is no missing rule",
			apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "a", errors.New("exceeded quota: q")),
			`pods "a" is forbidden: exceeded quota: q`},
		{"expired token", apierrors.NewUnauthorized("Unauthorized"),
			"the API server does not accept our credentials: the token or certificate has expired or was revoked"},
		{"too many requests", apierrors.NewTooManyRequests("slow down", 7),
			"the API server is overloaded and asks to wait 7 s: slow down"},
		{"unavailable", apierrors.NewServiceUnavailable("no endpoints"), "the API server answers 503: no endpoints"},
		{"too large", apierrors.NewInternalError(errors.New("etcdserver: request is too large")),
			"the object is larger than the API server stores (about 1.5 MB): split it, or drop large annotations"},
		{"immutable", invalid("Deployment", field.Invalid(field.NewPath("spec", "selector"), "x", "field is immutable")),
			`a field is immutable: Deployment.apps "web" is invalid: spec.selector: Invalid value: "x": field is immutable; annotate the object with holdfast.dev/replace: enabled to have it deleted and created anew`},
		{"secret values are not shown", invalid("Secret", field.Invalid(field.NewPath("data", "password"), "hunter2", "too short")),
			`Secret.apps "web" is invalid: data.password: Invalid value: (not shown)`},
		{"typed values are not shown",
			apierrors.NewBadRequest(`failed to create typed patch object (ns/s; /v1, Kind=Secret): .data.password: expected string, got &value.valueUnstructured{Value:12345}`),
			`failed to create typed patch object (ns/s; /v1, Kind=Secret): .data.password: expected string, got a value of another type`},
		{"conflict", apierrors.NewApplyConflict([]metav1.StatusCause{
			{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "kubectl-client-side-apply" using apps/v1 at 2026-11-20T10:00:00Z`, Field: ".spec.replicas"},
			{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "helm" using apps/v1`, Field: ".spec.paused"},
		}, "Apply failed with 2 conflicts"),
			"other field managers own what we declare: kubectl-client-side-apply (.spec.replicas); helm (.spec.paused)"},
		{"no such kind", fmt.Errorf("plan: %w", &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "x.io", Kind: "Widget"}, SearchedVersions: []string{"v1"}}),
			"the cluster has no kind Widget in x.io/v1: its CustomResourceDefinition is not installed, or serves another version"},
		{"connection refused", &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}},
			"the API server does not listen (connection refused): it is down, or the address is wrong"},
		{"webhook denies", apierrors.NewBadRequest(`admission webhook "a.b" denied the request: no`), `admission webhook "a.b" denied the request: no`},
		{"anything else", errors.New("odd"), "odd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Explain(tt.err); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestIsImmutable(t *testing.T) {
	path := field.NewPath("spec", "x")
	tests := []struct {
		name string
		errs field.ErrorList
		want bool
	}{
		{"selector", field.ErrorList{field.Invalid(path, 1, "field is immutable")}, true},
		{"statefulset", field.ErrorList{field.Forbidden(path, "updates to statefulset spec for fields other than 'replicas' are forbidden")}, true},
		{"roleRef", field.ErrorList{field.Invalid(path, 1, "cannot change roleRef")}, true},
		{"wrong value", field.ErrorList{field.Invalid(path, 1, "must be positive")}, false},
		{"immutable and wrong", field.ErrorList{field.Invalid(path, 1, "field is immutable"), field.Required(path, "")}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := apierrors.NewInvalid(schema.GroupKind{Kind: "K"}, "n", tt.errs)
			if got := IsImmutable(fmt.Errorf("apply: %w", err)); got != tt.want {
				t.Errorf("got %v, want %v: %v", got, tt.want, err)
			}
		})
	}
	if IsImmutable(apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("field is immutable"))) {
		t.Error("a refusal is not immutability")
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(1, 1)
	fair := ""
	rt := l.observe(roundTrip(func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		h.Set("X-Kubernetes-PF-FlowSchema-UID", fair)
		return &http.Response{Header: h, Body: http.NoBody}, nil
	}))
	do := func() {
		t.Helper()
		resp, err := rt.RoundTrip(&http.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	do()
	if !l.TryAccept() || l.TryAccept() {
		t.Error("a server without priority and fairness is not protected")
	}
	fair = "uid"
	do()
	for range 10 {
		if !l.TryAccept() {
			t.Fatal("limited although the server limits by itself")
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFieldManager(t *testing.T) {
	for instance, want := range map[string]string{
		"": "holdfast", "holdfast-system": "holdfast", "team-a": "holdfast-team-a",
	} {
		if got := FieldManager(instance); got != want {
			t.Errorf("FieldManager(%q) = %q, want %q", instance, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Run("nothing to connect to", func(t *testing.T) {
		t.Setenv("KUBECONFIG", "")
		if _, err := Config("", "x"); err == nil || err.Error() != "no cluster to connect to: not running in a pod, and neither --kubeconfig nor KUBECONFIG is set" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("file is missing", func(t *testing.T) {
		if _, err := Config("/nonexistent/kubeconfig", "x"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no current context", func(t *testing.T) {
		file := t.TempDir() + "/kubeconfig"
		if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Config(file, "x"); err == nil {
			t.Error("an empty kubeconfig is accepted")
		}
	})
	t.Run("environment", func(t *testing.T) {
		file := t.TempDir() + "/kubeconfig"
		text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: https://example.test:6443}}]\nusers: [{name: u, user: {token: t}}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("KUBECONFIG", file)
		cfg, err := Config("", "holdfast/test")
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Host != "https://example.test:6443" || cfg.UserAgent != "holdfast/test" {
			t.Errorf("got host %q and user agent %q", cfg.Host, cfg.UserAgent)
		}
	})
}
