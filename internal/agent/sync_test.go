package agent_test

import "testing"

func TestFirstSync(t *testing.T) {
	e := newEnv(t, bare.Cluster(t))
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "2")})
	e.start()
	e.waitReady(sha)
	if got := e.value("v1", "ConfigMap", "a", "data", "key"); got != "1" {
		t.Errorf("a is %q", got)
	}
	if got := len(e.inventory()); got != 2 {
		t.Errorf("the inventory lists %d objects: %v", got, e.inventory())
	}
}
