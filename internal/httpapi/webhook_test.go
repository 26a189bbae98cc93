package httpapi

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sign(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

const (
	githubPush = `{"ref":"refs/heads/main","before":"1","after":"2","repository":{"ref":"refs/heads/other"}}`
	giteaPush  = `{"ref":"refs/heads/main","before":"1","after":"2","commits":[]}`
	gitlabPush = `{"object_kind":"push","event_name":"push","before":"1","after":"2","ref":"refs/heads/main","commits":[{"ref":"refs/heads/x"}]}`
)

func TestSync(t *testing.T) {
	other := strings.Replace(githubPush, "main", "feature", 1)
	tag := strings.Replace(githubPush, "heads/main", "tags/main", 1)
	form := "payload=" + url.QueryEscape(githubPush)
	formOther := "x=1&payload=" + url.QueryEscape(other)
	for _, test := range []struct {
		name    string
		headers map[string]string
		body    string
		code    int
		has     string
		polls   int
	}{
		{"github push", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, githubPush)}, githubPush, 202, "accepted", 1},
		{"github push as a form", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, form), "Content-Type": "application/x-www-form-urlencoded"}, form, 202, "accepted", 1},
		{"github push of another branch as a form", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, formOther), "Content-Type": "application/x-www-form-urlencoded"}, formOther, 202, "other branch", 0},
		{"github push of another branch", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, other)}, other, 202, "ignored: other branch", 0},
		{"github push of a tag", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, tag)}, tag, 202, "ignored: other branch", 0},
		{"github ping", map[string]string{"X-GitHub-Event": "ping", "X-Hub-Signature-256": "sha256=" + sign(secret, `{"zen":"x"}`)}, `{"zen":"x"}`, 200, "pong", 0},
		{"github ping with a wrong signature", map[string]string{"X-GitHub-Event": "ping", "X-Hub-Signature-256": "sha256=" + sign("wrong", "{}")}, "{}", 401, "does not match", 0},
		{"github issue event", map[string]string{"X-GitHub-Event": "issues", "X-Hub-Signature-256": "sha256=" + sign(secret, "{}")}, "{}", 202, "not a push", 0},
		{"github wrong secret", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign("wrong", githubPush)}, githubPush, 401, "does not match", 0},
		{"github altered body", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, githubPush)}, githubPush + " ", 401, "does not match", 0},
		{"github truncated signature", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(secret, githubPush)[:20]}, githubPush, 401, "does not match", 0},
		{"github signature that is not hex", map[string]string{"X-Hub-Signature-256": "sha256=zz"}, githubPush, 401, "does not match", 0},
		{"github empty signature", map[string]string{"X-Hub-Signature-256": "sha256="}, githubPush, 401, "does not match", 0},
		{"github old sha1 alone", map[string]string{"X-Hub-Signature": "sha1=00"}, githubPush, 401, "not signed", 0},
		{"gitea push", map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(secret, giteaPush)}, giteaPush, 202, "accepted", 1},
		{"gitea push with github's headers too", map[string]string{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(secret, giteaPush), "X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, giteaPush)}, giteaPush, 202, "accepted", 1},
		{"gitea wrong, github's right", map[string]string{"X-Gitea-Signature": sign("wrong", giteaPush), "X-Hub-Signature-256": "sha256=" + sign(secret, giteaPush)}, giteaPush, 401, "does not match", 0},
		{"forgejo push", map[string]string{"X-Forgejo-Event": "push", "X-Forgejo-Signature": sign(secret, giteaPush)}, giteaPush, 202, "accepted", 1},
		{"gogs push", map[string]string{"X-Gogs-Event": "push", "X-Gogs-Signature": sign(secret, giteaPush)}, giteaPush, 202, "accepted", 1},
		{"gitea wrong secret", map[string]string{"X-Gitea-Signature": sign("wrong", giteaPush)}, giteaPush, 401, "does not match", 0},
		{"gitlab push", map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret}, gitlabPush, 202, "accepted", 1},
		{"gitlab push of another branch", map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret}, strings.Replace(gitlabPush, "main", "x", 1), 202, "other branch", 0},
		{"gitlab merge request", map[string]string{"X-Gitlab-Event": "Merge Request Hook", "X-Gitlab-Token": secret}, "{}", 202, "not a push", 0},
		{"gitlab wrong token", map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret + "x"}, gitlabPush, 401, "does not match", 0},
		{"a person", map[string]string{"Authorization": "Bearer " + secret}, "", 202, "accepted", 1},
		{"a person, lower case", map[string]string{"Authorization": "bearer " + secret}, "", 202, "accepted", 1},
		{"a person with a wrong token", map[string]string{"Authorization": "Bearer " + secret[1:]}, "", 401, "does not match", 0},
		{"a person with an empty token", map[string]string{"Authorization": "Bearer "}, "", 401, "does not match", 0},
		{"basic authentication", map[string]string{"Authorization": "Basic " + secret}, "", 401, "not signed", 0},
		{"nothing", nil, githubPush, 401, "not signed", 0},
		{"a push that cannot be parsed is a poll too many", map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, "\x00{")}, "\x00{", 202, "accepted", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.post(test.headers, strings.NewReader(test.body))
			if w.Code != test.code || !strings.Contains(w.Body.String(), test.has) {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, test.code, test.has)
			}
			if f.polls != test.polls {
				t.Errorf("%d polls, want %d", f.polls, test.polls)
			}
			if strings.Contains(w.Body.String()+f.log.String(), secret) {
				t.Error("the secret is shown")
			}
		})
	}
}

func (f *fixture) post(headers map[string]string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/sync", body)
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

func TestSyncWithoutASecret(t *testing.T) {
	f := newFixture(t)
	f.token = func() (string, error) { return "", nil }
	// The signature with an empty key must not open anything.
	w := f.post(map[string]string{"X-Hub-Signature-256": "sha256=" + sign("", githubPush)}, strings.NewReader(githubPush))
	if w.Code != 403 || !strings.Contains(w.Body.String(), TokenName) || f.polls != 0 {
		t.Errorf("%d %s, %d polls", w.Code, w.Body, f.polls)
	}
	f.token = func() (string, error) { return "", errors.New("permission denied") }
	if w := f.post(map[string]string{"Authorization": "Bearer x"}, nil); w.Code != 503 || f.polls != 0 {
		t.Errorf("%d %s, %d polls", w.Code, w.Body, f.polls)
	}
}

func TestSyncOfALargeBody(t *testing.T) {
	large := `{"ref":"refs/heads/main","x":"` + strings.Repeat("x", 3<<20) + `"}`
	f := newFixture(t)
	w := f.post(map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + sign(secret, large)}, strings.NewReader(large))
	if w.Code != 202 || f.polls != 1 {
		t.Errorf("3 MiB: %d %s", w.Code, w.Body)
	}
	w = f.post(map[string]string{"X-Hub-Signature-256": "sha256=00"}, io.LimitReader(zeros{}, maxBody+1))
	if w.Code != http.StatusRequestEntityTooLarge || f.polls != 1 {
		t.Errorf("over the limit: %d %s", w.Code, w.Body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	token := TokenFile(dir)
	expect := func(want string) {
		t.Helper()
		if got, err := token(); got != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	expect("")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, TokenName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	expect("first")
	write("second")
	expect("second")
	write(strings.Repeat("x", maxTokenBytes+1))
	if _, err := token(); err == nil {
		t.Error("an endless token is accepted")
	}
	if err := os.Remove(filepath.Join(dir, TokenName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, TokenName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := token(); err == nil {
		t.Error("a token that cannot be read is taken for none")
	}
	if got, err := TokenFile("")(); got != "" || err != nil {
		t.Errorf("without credentials: %q, %v", got, err)
	}
}

func TestParseRef(t *testing.T) {
	for _, test := range []struct {
		name, body, ref string
		known           bool
	}{
		{"first", `{"ref":"a"`, "a", true},
		{"after nested ones", `{"x":{"ref":"b"},"y":[{"ref":"c"}],"ref":"a"}`, "a", true},
		{"not a string", `{"ref":1}`, "", false},
		{"null", `{"ref":null}`, "", false},
		{"absent", `{"x":1}`, "", false},
		{"not an object", `["ref","a"]`, "", false},
		{"cut off before", `{"x":"aaaa`, "", false},
		{"cut off within", `{"ref":"refs/he`, "", false},
		{"empty", ``, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if ref, known := parseRef([]byte(test.body)); ref != test.ref || known != test.known {
				t.Errorf("%q %v, want %q %v", ref, known, test.ref, test.known)
			}
		})
	}
}

func FuzzRef(f *testing.F) {
	for _, seed := range []string{githubPush, giteaPush, gitlabPush, "payload=" + url.QueryEscape(githubPush), "payload=%7", `{"ref":`, `{"a":[[[[`} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, form bool) {
		c := call{body: body, form: form}
		ref, known := c.ref()
		if !known && ref != "" {
			t.Errorf("an unknown ref is %q", ref)
		}
		// A ref that is known stays the same when more follows.
		if known && !form {
			longer := call{body: append(bytes.Clone(body), `,"ref":"later"}`...)}
			if again, ok := longer.ref(); !ok || again != ref {
				t.Errorf("%q became %q", ref, again)
			}
		}
	})
}
