package gitsource

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// httpPool keeps one transport, so that polls reuse their connection, for as long as the TLS
// material stays the same.
type httpPool struct {
	sum       [sha256.Size]byte
	transport *http.Transport
}

func (p *httpPool) get(c credentials, proxy string) (*http.Transport, error) {
	h := sha256.New()
	for _, b := range [][]byte{c.ca, c.cert, c.key, []byte(proxy)} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(b), b) // a hash never fails
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	if p.transport != nil && p.sum == sum {
		return p.transport, nil
	}
	config, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	choose, err := proxyFunc(proxy)
	if err != nil {
		return nil, err
	}
	p.close()
	p.sum = sum
	p.transport = &http.Transport{
		Proxy:                 choose,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   20 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          2,
		IdleConnTimeout:       2 * time.Minute,
		ExpectContinueTimeout: time.Second,
	}
	return p.transport, nil
}

func (p *httpPool) close() {
	if p.transport != nil {
		p.transport.CloseIdleConnections()
	}
}

func tlsConfig(c credentials) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // an image without certificates
		}
		if !pool.AppendCertsFromPEM(c.ca) {
			return nil, fail(KindCredentials, "ca.crt of the credentials holds no PEM certificate")
		}
		config.RootCAs = pool
	}
	switch {
	case len(c.cert) > 0 && len(c.key) > 0:
		pair, err := tls.X509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fail(KindCredentials, "tls.crt and tls.key of the credentials cannot be used: %s", err)
		}
		config.Certificates = []tls.Certificate{pair}
	case len(c.cert) > 0 || len(c.key) > 0:
		return nil, fail(KindCredentials, "the credentials hold only one of tls.crt and tls.key")
	}
	return config, nil
}

// proxyFunc is the given proxy, or what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say now.
func proxyFunc(proxy string) (func(*http.Request) (*url.URL, error), error) {
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil || u.Host == "" {
			return nil, fail(KindCredentials, "the proxy URL is not valid")
		}
		return http.ProxyURL(u), nil
	}
	choose := httpproxy.FromEnvironment().ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }, nil
}

// httpConversation speaks smart HTTP.
type httpConversation struct {
	service   service
	transport *http.Transport
	address   address
	creds     credentials
	agent     string
	count     func() // of a request

	base       string // where the repository is, redirects followed
	trust      bool   // whether base may have the credentials
	redirected bool
}

func newHTTPConversation(s service, transport *http.Transport, a address, creds credentials, agent string, count func()) *httpConversation {
	return &httpConversation{service: s, transport: transport, address: a, creds: creds, agent: agent, count: count, base: a.base(), trust: true}
}

const maxRedirects = 5

// errRedirected is a redirect where none is followed: only the discovery may lead elsewhere.
var errRedirected = fail(KindProtocol, "the server redirects in the middle of an exchange, which is refused")

func (h *httpConversation) advertise(ctx context.Context) (io.ReadCloser, error) {
	h.base, h.trust = h.address.base(), true
	const discovery = "/info/refs"
	query := "?service=" + string(h.service)
	target := h.base + discovery + query
	for range maxRedirects + 1 {
		resp, err := h.do(ctx, http.MethodGet, target, nil, true)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 3 {
			if err := h.checkStatus(resp); err != nil {
				return nil, err
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/x-"+string(h.service)+"-advertisement" {
				_ = resp.Body.Close() // the answer is of no use
				return nil, fail(KindProtocol, "the server answers with %q instead of Git's smart protocol: is the URL right?", ct)
			}
			return resp.Body, nil
		}
		_ = resp.Body.Close() // the answer is only the header
		next, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
		if err != nil || next.Host == "" || !strings.HasSuffix(next.Path, discovery) {
			return nil, fail(KindProtocol, "the server redirects to an address that is no Git repository")
		}
		if err := h.follow(resp.Request.URL, next); err != nil {
			return nil, err
		}
		target = h.base + discovery + query
	}
	return nil, fail(KindProtocol, "the server redirects more than %d times", maxRedirects)
}

// follow moves to where a redirect leads. Credentials go along only to the same host and port, or to
// its https.
func (h *httpConversation) follow(from, to *url.URL) error {
	switch {
	case from.Scheme == "https" && to.Scheme != "https":
		return fail(KindProtocol, "the server redirects from https to %s, which is refused", to.Scheme)
	case to.Scheme != "https" && to.Scheme != "http":
		return fail(KindProtocol, "the server redirects to %s, which is refused", to.Scheme)
	}
	same := strings.EqualFold(from.Host, to.Host) && from.Scheme == to.Scheme
	upgrade := strings.EqualFold(from.Hostname(), to.Hostname()) && from.Scheme == "http" && to.Scheme == "https" && to.Port() == ""
	h.trust = h.trust && (same || upgrade)
	h.redirected = true
	to.User, to.RawQuery, to.Fragment = nil, "", ""
	h.base = strings.TrimSuffix(to.String(), "/info/refs")
	return nil
}

func (h *httpConversation) request(ctx context.Context, body []byte, v2 bool) (io.ReadCloser, error) {
	resp, err := h.do(ctx, http.MethodPost, h.base+"/"+string(h.service), body, v2)
	if err != nil {
		return nil, err
	}
	if err := h.checkStatus(resp); err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (h *httpConversation) close() error { return nil }

func (h *httpConversation) do(ctx context.Context, method, target string, body []byte, v2 bool) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fail(KindProtocol, "the repository URL is not valid")
	}
	h.count()
	req.Header.Set("User-Agent", h.agent)
	if v2 {
		req.Header.Set("Git-Protocol", version2)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-"+string(h.service)+"-request")
		req.Header.Set("Accept", "application/x-"+string(h.service)+"-result")
		// Nothing is sent for this entry; it lets the transport try again on a fresh connection when the
		// server has just closed the idle one. A fetch only reads, and a push that comes a second time finds
		// what it wanted (Remote.Push).
		req.Header["Idempotency-Key"] = nil
	}
	if h.trust {
		switch {
		case h.creds.bearer != "":
			req.Header.Set("Authorization", "Bearer "+h.creds.bearer)
		case h.creds.username != "" || h.creds.password != "":
			user := h.creds.username
			if user == "" {
				user = "git" // hosts that take a token as password want any user
			}
			req.SetBasicAuth(user, h.creds.password)
		}
	}
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		// Without url.Error, whose text repeats the URL.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, err
	}
	return resp, nil
}

// checkStatus turns a refusal into an error, and then closes the body.
func (h *httpConversation) checkStatus(resp *http.Response) error {
	code := resp.StatusCode
	if code == http.StatusOK {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // best effort: the status counts
	_ = resp.Body.Close()                                  // the answer has been read
	text := ""
	if ct := resp.Header.Get("Content-Type"); strings.HasPrefix(ct, "text/plain") {
		if line := oneLine(string(said)); line != "" {
			text = ": " + line
		}
	}
	switch {
	case code == http.StatusUnauthorized:
		return fail(KindAuth, "the server refused the credentials (401): check username and password, or bearerToken, of the credentials%s", text)
	case code == http.StatusForbidden:
		may := "read"
		if h.service == pushing {
			may = "push to"
		}
		return fail(KindAuth, "the credentials are valid but may not %s this repository (403)%s", may, text)
	case code == http.StatusProxyAuthRequired:
		return fail(KindAuth, "the proxy wants credentials (407): put them into the proxy's URL")
	case code == http.StatusNotFound, code == http.StatusGone:
		return fail(KindNotFound, "no such repository, or these credentials may not see it (%d)", code)
	case code == http.StatusTooManyRequests:
		return fail(KindServer, "the server asks for fewer requests (429): raise the poll interval%s", text)
	case code >= 500:
		return fail(KindServer, "the server is in trouble (%d %s)%s", code, http.StatusText(code), text)
	case code/100 == 3:
		return errRedirected
	default:
		return fail(KindProtocol, "the server answers with status %d%s", code, text)
	}
}
