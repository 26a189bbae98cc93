package kube

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// A server can be ahead of what is read of its answer by as much as is buffered here, and no more.
func TestAnswersAreBufferedInPart(t *testing.T) {
	const size = 4 << 20
	ahead := make(chan int)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the request came by %s", r.Proto)
		}
		// What cannot be sent fails then, so that the handler ends.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
		sent := 0
		for sent < size {
			n, err := w.Write(make([]byte, 1<<10))
			if err != nil {
				break
			}
			sent += n
		}
		ahead <- sent
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()

	cfg, err := Config(kubeconfigOf(t, server), "holdfast-test")
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it is not read
	if sent := <-ahead; sent < receiveBuffer/2 || sent > 2*receiveBuffer {
		t.Errorf("%d bytes were sent that nobody had read, with a buffer of %d", sent, receiveBuffer)
	}
}

func kubeconfigOf(t *testing.T, server *httptest.Server) string {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, server.URL, base64.StdEncoding.EncodeToString(ca))
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
