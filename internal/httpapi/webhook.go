package httpapi

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// keptBytes is how much of a body is kept. Every host names the ref in the first few hundred bytes.
const keptBytes = 64 << 10

var (
	errUnsigned = errors.New("not signed: send X-Hub-Signature-256 (GitHub), X-Gitea-Signature (Gitea, Forgejo), X-Gitlab-Token (GitLab) or Authorization: Bearer")
	errWrong    = errors.New("the signature or token does not match the webhook secret")
)

// call is an authentic call of /api/v1/sync.
type call struct {
	from  string // "github", "gitea", "gitlab" or "person"
	event string // the host's name of the event; may be empty
	form  bool   // the body is a form with the JSON in the field "payload"
	body  []byte // its beginning
}

// signatureHeaders are the headers with an HMAC-SHA256 of the body in hex, in the order in which they
// are looked for: Gitea and Forgejo send GitHub's too.
var signatureHeaders = []struct{ header, prefix, from string }{
	{"X-Forgejo-Signature", "", "gitea"},
	{"X-Gitea-Signature", "", "gitea"},
	{"X-Gogs-Signature", "", "gitea"},
	{"X-Hub-Signature-256", "sha256=", "github"},
}

// authenticate reads the request and returns it if its sender knows the secret. A request with several
// proofs is judged by the first kind present.
func authenticate(r *http.Request, secret string) (call, error) {
	c := call{form: isForm(r)}
	for _, h := range signatureHeaders {
		signature := r.Header.Get(h.header)
		if signature == "" {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		body, err := keep(io.TeeReader(r.Body, mac))
		if err != nil {
			return call{}, err
		}
		given, err := hex.DecodeString(strings.TrimPrefix(signature, h.prefix))
		if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
			return call{}, errWrong
		}
		c.from, c.body, c.event = h.from, body, firstHeader(r, "X-Forgejo-Event", "X-Gitea-Event", "X-Gogs-Event", "X-GitHub-Event")
		return c, nil
	}
	if token := r.Header.Get("X-Gitlab-Token"); token != "" {
		if !same(token, secret) {
			return call{}, errWrong
		}
		body, err := keep(r.Body)
		if err != nil {
			return call{}, err
		}
		c.from, c.body, c.event = "gitlab", body, r.Header.Get("X-Gitlab-Event")
		return c, nil
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		if !same(strings.TrimSpace(token), secret) {
			return call{}, errWrong
		}
		return call{from: "person"}, nil
	}
	return call{}, errUnsigned
}

// same compares in a time that does not depend on where the two differ, nor on the secret's length.
func same(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// keep reads all of a body and returns its beginning.
func keep(body io.Reader) ([]byte, error) {
	kept, err := io.ReadAll(io.LimitReader(body, keptBytes))
	if err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	if err != nil {
		return nil, fmt.Errorf("read webhook: %w", err)
	}
	return kept, nil
}

func firstHeader(r *http.Request, names ...string) string {
	for _, name := range names {
		if v := r.Header.Get(name); v != "" {
			return v
		}
	}
	return ""
}

func isForm(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/x-www-form-urlencoded"
}

type kind int

const (
	kindPush kind = iota
	kindPing
	kindOther
)

// kind tells what a call is about. One that does not say is taken for a push: a poll too many costs nothing.
func (c *call) kind() kind {
	switch strings.ToLower(c.event) {
	case "", "push", "push hook", "system hook":
		return kindPush
	case "ping":
		return kindPing
	default:
		return kindOther
	}
}

// ref returns the ref that was pushed, if the payload names one.
func (c *call) ref() (string, bool) {
	body := c.body
	if c.form {
		body = payload(body)
	}
	return parseRef(body)
}

// payload returns the field "payload" of the beginning of a form, as far as it goes.
func payload(form []byte) []byte {
	for field := range bytes.SplitSeq(form, []byte("&")) {
		value, ok := bytes.CutPrefix(field, []byte("payload="))
		if !ok {
			continue
		}
		// The beginning may end within an escape of three bytes.
		if i := bytes.LastIndexByte(value, '%'); i >= 0 && i > len(value)-3 {
			value = value[:i]
		}
		text, err := url.QueryUnescape(string(value))
		if err != nil {
			return nil
		}
		return []byte(text)
	}
	return nil
}

// parseRef finds the top-level field "ref" of the beginning of a JSON object. What follows it is not looked at.
func parseRef(body []byte) (string, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return "", false
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return "", false
		}
		if key == "ref" {
			value, err := decoder.Token()
			ref, ok := value.(string)
			return ref, err == nil && ok
		}
		var skipped json.RawMessage
		if err := decoder.Decode(&skipped); err != nil {
			return "", false
		}
	}
	return "", false
}
