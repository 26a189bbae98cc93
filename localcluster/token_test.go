package localcluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestServiceAccountTokens(t *testing.T) {
	t.Parallel()
	c := startForTest(t, Options{Name: "tokens", Bare: true})
	admin := userOf(t, c.Kubeconfig())
	if _, err := c.ServiceAccountToken(t.Context(), "default", "agent", time.Hour); err == nil {
		t.Error("there is a token of a ServiceAccount that does not exist")
	}
	admin.want(t, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"agent"}}`)
	path, err := c.TokenKubeconfig(filepath.Join(t.TempDir(), "token"))
	if err != nil {
		t.Fatal(err)
	}
	agent := userOf(t, path)
	const review = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`

	for _, test := range []struct {
		name string
		ttl  time.Duration
		code int
	}{
		{"valid", time.Hour, 201},
		{"expired", -time.Second, 401},
		{"expired long ago", -24 * time.Hour, 401},
	} {
		agent.bearer, err = c.ServiceAccountToken(t.Context(), "default", "agent", test.ttl)
		if err != nil {
			t.Fatal(err)
		}
		code, answer := agent.do(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
		if code != test.code {
			t.Errorf("%s token: HTTP status %d, want %d: %v", test.name, code, test.code, answer)
		}
	}
	if content, err := os.ReadFile(path); err != nil || len(content) == 0 {
		t.Errorf("kubeconfig: %v", err)
	}
}
