package localcluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// helperDir makes this test binary start a cluster in that folder and wait for its end, as a
// program that will be killed.
const helperDir = "LOCALCLUSTER_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		c, err := Start(context.Background(), Options{Name: "helper", Bare: true, Dir: dir})
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println("ready", c.URL())
		select {}
	}
	os.Exit(m.Run())
}

// startForTest starts a cluster that ends with the test.
func startForTest(t *testing.T, options Options) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	c, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.LogTail(15))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// user is a client that knows only a kubeconfig.
type user struct {
	url    string
	client *http.Client
	agent  string
	bearer string
}

func userOf(t *testing.T, kubeconfig string) *user {
	t.Helper()
	content, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) string {
		m := regexp.MustCompile(`(?m)^ +` + name + `: (\S+)$`).FindSubmatch(content)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	data := func(name string) []byte {
		if field(name) == "" {
			return nil
		}
		decoded, err := base64.StdEncoding.DecodeString(field(name))
		if err != nil {
			t.Fatal(err)
		}
		return decoded
	}
	client, err := newClient(data("certificate-authority-data"), keyPair{cert: data("client-certificate-data"), key: data("client-key-data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return &user{url: field("server"), client: client, agent: "test-agent", bearer: field("token")}
}

// do sends a request and returns the HTTP status and the decoded answer.
func (u *user) do(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", u.agent)
	req.Header.Set("Content-Type", "application/json")
	if u.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+u.bearer)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		answer = map[string]any{"text": string(data)}
	}
	return resp.StatusCode, answer
}

func (u *user) want(t *testing.T, code int, method, path, body string) map[string]any {
	t.Helper()
	got, answer := u.do(t, method, path, body)
	if got != code {
		t.Fatalf("%s %s: HTTP status %d, want %d: %v", method, path, got, code, answer)
	}
	return answer
}

// eventually waits for a condition on a real server.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// processesIn returns the processes that work in dir, which a cluster's servers do.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("looks for processes in /proc")
	}
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		// A process that ended meanwhile has no such link any more.
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			found = append(found, filepath.Dir(link))
		}
	}
	return found
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}
