package statusbus

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/status"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestJudge(t *testing.T) {
	key, other := newKey(t), newKey(t)
	signers := func(lines ...string) *AllowedSigners {
		a, err := ParseAllowedSigners([]byte(strings.Join(lines, "")))
		must(t, err)
		return a
	}
	trusted := signers(allow("us-west", `namespaces="git"`, key))
	unsigned := foundIn(t, pushOf(t, reportOf("us-west", noon), nil))
	signed := foundIn(t, pushOf(t, reportOf("us-west", noon), key))
	altered := signed
	altered.commit = reencode(t, signed.commit, func(c *object.Commit) { c.TreeHash = plumbing.NewHash(someCommit) })
	garbled := signed
	garbled.commit = reencode(t, signed.commit, func(c *object.Commit) {
		c.PGPSignature = "-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
	})
	content := func(s string) found { f := unsigned; f.content = []byte(s); return f }
	future, err := json.Marshal(reportOf("us-west", noon.Add(time.Hour)))
	must(t, err)

	cases := []struct {
		name            string
		found           found
		signers         *AllowedSigners
		last, elsewhere time.Time
		says            string // "" is believed
	}{
		{"a report", unsigned, nil, time.Time{}, time.Time{}, ""},
		{"a signed one, though that is not asked for", signed, nil, time.Time{}, time.Time{}, ""},
		{"a good signature", signed, trusted, time.Time{}, time.Time{}, ""},
		{"no signature", unsigned, trusted, time.Time{}, time.Time{}, "not signed"},
		{"nobody is allowed", signed, signers(), time.Time{}, time.Time{}, "does not list for it"},
		{"another key", signed, signers(allow("us-west", "", other)), time.Time{}, time.Time{}, "does not list for it"},
		{"another cluster's key", signed, signers(allow("us-east", "", key)), time.Time{}, time.Time{}, "does not list for it"},
		{"a key for something else", signed, signers(allow("us-west", `namespaces="file"`, key)), time.Time{}, time.Time{}, "may not sign commits"},
		{"a key that is no longer valid", signed, signers(allow("us-west", `valid-before="20261120115959Z"`, key)), time.Time{}, time.Time{}, "not valid any more"},
		{"a key that was not valid yet", signed, signers(allow("us-west", `valid-after="20261120120001Z"`, key)), time.Time{}, time.Time{}, "or not yet"},
		{"a second line for the key", signed, signers(allow("us-west", `valid-before="20200101Z"`, key), allow("us-*", "", key)), time.Time{}, time.Time{}, ""},
		{"altered after it was signed", altered, trusted, time.Time{}, time.Time{}, "altered or forged"},
		{"another kind of signature", garbled, trusted, time.Time{}, time.Time{}, "not an SSH signature"},

		{"nothing that can be fetched", found{err: errors.New("no such commit")}, nil, time.Time{}, time.Time{}, "cannot be read"},
		{"no file", found{commit: unsigned.commit, err: &fs.PathError{Op: "read", Path: File, Err: fs.ErrNotExist}}, nil, time.Time{}, time.Time{}, "holds no status.json"},
		{"a file that cannot be read", found{commit: unsigned.commit, err: errors.New("is not a plain file")}, nil, time.Time{}, time.Time{}, "not a plain file"},
		{"malformed", content("{"), nil, time.Time{}, time.Time{}, "malformed"},
		{"malformed, with control characters", content("{\"apiVersion\":\"\\u001b[31m\\n" + strings.Repeat("x", 1000) + "\"}"), nil, time.Time{}, time.Time{}, "apiVersion"},
		{"of another version", content(`{"apiVersion":"holdfast.dev/v9"}`), nil, time.Time{}, time.Time{}, "holdfast.dev/v9"},
		{"empty", content(""), nil, time.Time{}, time.Time{}, "malformed"},
		{"oversized", content(strings.Repeat(" ", status.MaxReportBytes+1)), nil, time.Time{}, time.Time{}, "larger than"},
		{"future-dated", content(string(future)), nil, time.Time{}, time.Time{}, "ahead of this machine's clock"},

		{"older than the last one", unsigned, nil, noon.Add(time.Second), time.Time{}, "before the one of"},
		{"as old as the last one", unsigned, nil, noon, time.Time{}, ""},
		{"older than its place in the ref, within what clocks may differ", unsigned, nil, time.Time{}, noon.Add(skew), ""},
		{"older than its place in the ref", unsigned, nil, time.Time{}, noon.Add(skew + time.Second), "came after"},
		{"a very old one at first sight", unsigned, nil, time.Time{}, time.Time{}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			report, err := judge("us-west", c.found, c.signers, noon, c.last, c.elsewhere)
			switch {
			case c.says == "" && (err != nil || report.Cluster != "us-west"):
				t.Errorf("not believed: %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want %q", err, c.says)
			case err != nil && (len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\x1b\n")):
				t.Errorf("the reason is no short line: %q", err)
			}
		})
	}
	if _, err := judge("us-east", unsigned, nil, noon, time.Time{}, time.Time{}); err == nil || !strings.Contains(err.Error(), `"us-west"`) {
		t.Errorf("another cluster's report gives %v", err)
	}
	if _, err := judge("us-west", unsigned, nil, noon.Add(-skew), time.Time{}, time.Time{}); err != nil {
		t.Errorf("within what clocks may differ: %v", err)
	}
	if _, err := judge("us-west", unsigned, nil, noon.Add(-skew-time.Second), time.Time{}, time.Time{}); err == nil {
		t.Error("a report from the future is believed")
	}
	if _, err := judge("us-west", unsigned, nil, noon.Add(24*365*time.Hour), time.Time{}, time.Time{}); err != nil {
		t.Errorf("a report of last year, at first sight: %v", err)
	}
	// A signature counts at the time of the commit and also now: its maker could date it back.
	expired := signers(allow("us-west", `valid-before="20261121Z"`, key))
	if _, err := judge("us-west", signed, expired, noon.Add(48*time.Hour), time.Time{}, time.Time{}); err == nil {
		t.Error("an expired key signs on, dated back")
	}
}

// reencode alters a commit and reads it again, as if it had come from a server.
func reencode(t *testing.T, c *object.Commit, alter func(*object.Commit)) *object.Commit {
	t.Helper()
	altered := *c
	alter(&altered)
	o := new(plumbing.MemoryObject)
	must(t, altered.Encode(o))
	r, err := o.Reader()
	must(t, err)
	b := make([]byte, o.Size())
	_, err = r.Read(b)
	must(t, err)
	out, err := decodeCommit(b)
	must(t, err)
	return out
}

// However the headers are arranged, what is read is what was signed.
func TestASignatureCannotBeMovedToOtherContent(t *testing.T) {
	key := newKey(t)
	a, err := ParseAllowedSigners([]byte(allow("us-west", "", key)))
	must(t, err)
	c := foundIn(t, pushOf(t, reportOf("us-west", noon), key)).commit
	part, err := signedPart(c)
	must(t, err)
	sig := "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(c.PGPSignature, "\n"), "\n", "\n ") + "\n"
	head, message, _ := strings.Cut(string(part), "\n\n")
	evil := "tree " + strings.Repeat("ab", 20) + "\n"
	whole := func(s string) string { return s + "\n" + sig + "\n" + message }
	for name, raw := range map[string]string{
		"a second tree before":       whole(evil + head),
		"a second tree after":        whole(head + "\n" + strings.TrimSuffix(evil, "\n")),
		"a tree in the signature":    head + "\n" + strings.TrimSuffix(sig, "\n") + "\n " + evil + "\n" + message,
		"a tree in a second header":  head + "\ngpgsig-sha256 x\n " + evil + sig + "\n" + message,
		"the signature comes first":  sig + evil + head + "\n\n" + message,
		"two signatures":             head + "\n" + sig + sig + "\n" + message,
		"the message says otherwise": head + "\n" + sig + "\n" + evil + message,
		"a parent":                   whole("parent " + strings.Repeat("ab", 20) + "\n" + head),
	} {
		got, err := decodeCommit([]byte(raw))
		if err != nil {
			continue // refused even earlier
		}
		if err := a.check("us-west", got, noon); err == nil && got.TreeHash != c.TreeHash {
			t.Errorf("%s: believed with the tree %s", name, got.TreeHash)
		}
	}
	got, err := decodeCommit([]byte(whole(head)))
	must(t, err)
	if err := a.check("us-west", got, noon); err != nil {
		t.Errorf("the commit as it is: %v", err)
	}
}

func FuzzCheckSignature(f *testing.F) {
	// One key for all the processes that take part.
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	must(f, err)
	a, err := ParseAllowedSigners([]byte(allow("us-west", "", key)))
	must(f, err)
	u := pushOf(f, reportOf("us-west", noon), key)
	c := foundIn(f, u).commit
	o := new(plumbing.MemoryObject)
	must(f, c.Encode(o))
	r, err := o.Reader()
	must(f, err)
	raw := make([]byte, o.Size())
	_, err = r.Read(raw)
	must(f, err)
	if got, err := decodeCommit(raw); err != nil || a.check("us-west", got, noon) != nil {
		f.Fatal("the commit as it is is not believed")
	}
	f.Add(raw)
	f.Add([]byte(strings.Replace(string(raw), "\nauthor", "\ntree "+strings.Repeat("ab", 20)+"\nauthor", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeCommit(b)
		if err != nil {
			return
		}
		if a.check("us-west", got, noon) == nil && (got.TreeHash != c.TreeHash || !got.Committer.When.Equal(c.Committer.When)) {
			t.Errorf("another content is believed:\n%s", b)
		}
	})
}

func TestWhatIsPublishedIsWhatIsRead(t *testing.T) {
	report := reportOf("us-west", noon)
	u := pushOf(t, report, nil)
	if again := pushOf(t, report, nil); again.New != u.New {
		t.Error("equal reports give different commits")
	}
	f := foundIn(t, u)
	if f.commit.NumParents() != 0 || f.commit.Committer.Name != "holdfast us-west" || !f.commit.Committer.When.Equal(noon) {
		t.Errorf("the commit is %+v", f.commit)
	}
	if !strings.HasPrefix(string(f.content), "{\n  \"apiVersion\"") || !strings.HasSuffix(string(f.content), "}\n") {
		t.Errorf("status.json is\n%s", f.content)
	}
	huge := report
	for i := range 12000 {
		huge.Apps = append(huge.Apps, status.App{Name: fmt.Sprintf("app-%d", i), Content: strings.Repeat("x", 500)})
	}
	if _, err := newPush(huge, nil); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a report that nobody reads gives %v", err)
	}
}
