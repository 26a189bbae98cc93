package localcluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// startTimeout is how long a server may take to become ready. It is a bound for a machine
// under heavy load; seconds are usual.
const startTimeout = 2 * time.Minute

// newClient returns an HTTP client that authenticates with pair, unless that is zero, and trusts ca alone.
func newClient(ca []byte, pair keyPair) (*http.Client, error) {
	var certs []tls.Certificate
	if pair.cert != nil {
		cert, err := tls.X509KeyPair(pair.cert, pair.key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		certs = []tls.Certificate{cert}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("read the authority's certificate: no certificate in it")
	}
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs, MinVersion: tls.VersionTLS12},
		},
	}, nil
}

// waitAPIServer waits until the API server is ready and has made the first namespaces, which
// its readiness does not include. It fails at once when the API server or etcd ends.
func (c *Cluster) waitAPIServer(ctx context.Context, s *server) error {
	return c.poll(ctx, []*server{s, c.etcd}, func(ctx context.Context) error {
		for _, path := range []string{"/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"} {
			if err := c.request(ctx, http.MethodGet, path, nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// waitFull makes the nodes and waits until Pods can be made and scheduled.
func (c *Cluster) waitFull(ctx context.Context) error {
	servers := append([]*server{c.apiServer, c.etcd}, c.controllers...)
	for _, n := range c.options.Nodes {
		if err := c.poll(ctx, servers, func(ctx context.Context) error { return c.createNode(ctx, n) }); err != nil {
			return fmt.Errorf("make node %q: %w", n.Name, err)
		}
	}
	return c.poll(ctx, servers, func(ctx context.Context) error {
		if err := c.request(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil, nil); err != nil {
			return fmt.Errorf("default ServiceAccount: %w", err)
		}
		return c.nodesReady(ctx)
	})
}

func (c *Cluster) createNode(ctx context.Context, n Node) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": n.Name, "labels": n.Labels},
	})
	if err != nil {
		return err
	}
	err = c.request(ctx, http.MethodPost, "/api/v1/nodes", body, nil)
	if status := new(statusError); errors.As(err, &status) && status.code == http.StatusConflict {
		return nil // an earlier attempt got through although its answer did not
	}
	return err
}

func (c *Cluster) nodesReady(ctx context.Context) error {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Taints []struct{ Key string } }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := c.request(ctx, http.MethodGet, "/api/v1/nodes", nil, &list); err != nil {
		return err
	}
	if len(list.Items) < len(c.options.Nodes) {
		return fmt.Errorf("%d of %d nodes exist", len(list.Items), len(c.options.Nodes))
	}
	for _, n := range list.Items {
		if !slices.Contains(n.Status.Conditions, struct{ Type, Status string }{"Ready", "True"}) {
			return fmt.Errorf("node %s is not Ready", n.Metadata.Name)
		}
		if len(n.Spec.Taints) > 0 {
			return fmt.Errorf("node %s has the taint %s", n.Metadata.Name, n.Spec.Taints[0].Key)
		}
	}
	return nil
}

// poll calls check until it succeeds. It gives up when one of the servers ends, when
// ctx ends or after startTimeout, and then says what check said last.
func (c *Cluster) poll(ctx context.Context, servers []*server, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, s := range servers {
			select {
			case <-s.exited:
				return s.died()
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready (%w): %w; the end of the API server's log:\n%s",
				context.Cause(ctx), err, indent(readTail(c.Log("kube-apiserver"), 12)))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// statusError is an answer that is not a success.
type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP status %d: %s", e.code, e.body) }

// request sends one request as the administrator and decodes the JSON answer into out, unless that is nil.
func (c *Cluster) request(ctx context.Context, method, path string, body []byte, out any) error {
	return request(ctx, c.admin, method, c.URL()+path, body, out)
}

func request(ctx context.Context, client *http.Client, method, url string, body []byte, out any) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "localcluster")
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return &statusError{code: resp.StatusCode, body: lastLines(data, 5)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}
