package statusbus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

func TestParseAllowedSigners(t *testing.T) {
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newKey(t).PublicKey())))
	cases := []struct {
		name, line string
		keys       int
		says       string
	}{
		{"one", "us-east " + line, 1, ""},
		{"with a comment at its end", "us-east " + line + " ada@example.com", 1, ""},
		{"with tabs and a carriage return", "us-east\t" + line + "\r", 1, ""},
		{"in quotes", `"us-east,us-west" ` + line, 1, ""},
		{"with options", `us-* namespaces="git,file",valid-after="20260101",valid-before="20270101000000Z" ` + line, 1, ""},
		{"with options in capitals", `us-* NAMESPACES="git" ` + line, 1, ""},
		{"comments and empty lines", "# nobody\n\n   \n# more", 0, ""},
		{"two", "a " + line + "\nb " + line, 2, ""},
		{"a bad one between", "a " + line + "\nb\nc " + line, 2, "line 2 is left out"},
		{"no key", "us-east", 0, "not of the form"},
		{"no cluster", line, 0, "no key"},
		{"no principals in the quotes", `"" ` + line, 0, "not of the form"},
		{"a key that is none", "us-east ssh-ed25519 AAAA", 0, "no key"},
		{"another key type than it says", "us-east ssh-rsa " + strings.Fields(line)[1], 0, "no key"},
		{"an authority", "us-east cert-authority " + line, 0, "cert-authority is not supported"},
		{"an unknown option", `us-east verify-required ` + line, 0, "not known"},
		{"no quotes", `us-east namespaces=git ` + line, 0, "double quotes"},
		{"no namespaces", `us-east namespaces="" ` + line, 0, "lacks its value"},
		{"an option twice", `us-east namespaces="git",namespaces="file" ` + line, 0, "twice"},
		{"a time that is none", `us-east valid-after="20261301" ` + line, 0, "not a time"},
		{"a time of another form", `us-east valid-after="2026-01-01" ` + line, 0, "not a time"},
		{"never valid", `us-east valid-after="20270101",valid-before="20260101" ` + line, 0, "not later"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseAllowedSigners([]byte(c.line))
			if len(a.keys) != c.keys {
				t.Errorf("%d keys, want %d", len(a.keys), c.keys)
			}
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestMatchList(t *testing.T) {
	for _, c := range []struct {
		name, list string
		want       bool
	}{
		{"us-east", "us-east", true},
		{"us-east", "us-east-1", false},
		{"us-east-1", "us-east", false},
		{"us-east", "us-*", true},
		{"us-east", "*", true},
		{"us-east", "us-????", true},
		{"us-east", "us-???", false},
		{"us-east", "eu-*,us-*", true},
		{"us-east", "*,!us-east", false},
		{"us-east", "!us-east,*", false},
		{"us-east", "!eu-west", false},
		{"us-east", "us-[a-z]ast", false},
		{"us-east", `us-\east`, false},
		{"us-east", "", false},
		{"us-east", "US-EAST", false},
	} {
		if got := matchList(c.name, c.list); got != c.want {
			t.Errorf("%s in %q = %v", c.name, c.list, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	local := func(s string) time.Time {
		at, err := time.ParseInLocation(time.DateTime, s, time.Local)
		must(t, err)
		return at
	}
	for s, want := range map[string]time.Time{
		"20261120":        local("2026-11-20 00:00:00"),
		"202611201200":    local("2026-11-20 12:00:00"),
		"20261120120030":  local("2026-11-20 12:00:30"),
		"20261120Z":       noon.Add(-12 * time.Hour),
		"202611201200z":   noon,
		"20261120120000Z": noon,
	} {
		if got, err := parseTime(s); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s, %v, want %s", s, got, err, want)
		}
	}
}

func FuzzParseAllowedSigners(f *testing.F) {
	line := string(ssh.MarshalAuthorizedKey(newKey(f).PublicKey()))
	f.Add([]byte("us-* " + line))
	f.Add([]byte(`"a,b" namespaces="git",valid-after="20260101Z" ` + line))
	f.Add([]byte("us-east cert-authority " + line))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, _ := ParseAllowedSigners(b)
		for _, k := range a.keys {
			if k.key == nil || k.principals == "" || k.line < 1 {
				t.Errorf("a line became %+v", k)
			}
			if !strings.Contains(string(b), k.principals) {
				t.Errorf("%q is in no line", k.principals)
			}
			matchList("us-east", k.principals)
		}
	})
}

func TestCredentialFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) { must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600)) }
	plain, _, err := gittest.NewKeyPair("")
	must(t, err)
	locked, public, err := gittest.NewKeyPair("open sesame")
	must(t, err)
	load := SignerFrom(dir)
	steps := []struct {
		name  string
		files map[string][]byte
		key   bool
		says  string
	}{
		{"no key", nil, false, ""},
		{"a key", map[string][]byte{SigningKeyFile: plain}, true, ""},
		{"rubbish", map[string][]byte{SigningKeyFile: []byte("s3cret")}, false, "ssh-keygen"},
		{"no passphrase", map[string][]byte{SigningKeyFile: locked}, false, "put its passphrase"},
		{"a wrong passphrase", map[string][]byte{SigningPasswordFile: []byte("s3cret")}, false, "does not open"},
		{"the passphrase", map[string][]byte{SigningPasswordFile: []byte("open sesame\n")}, true, ""},
	}
	for _, s := range steps {
		for name, content := range s.files {
			write(name, content)
		}
		signer, err := load()
		if (signer != nil) != s.key || (err == nil) != (s.says == "") || err != nil && (!strings.Contains(err.Error(), s.says) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v, %v", s.name, signer, err)
		}
	}
	signer, err := load()
	must(t, err)
	if string(ssh.MarshalAuthorizedKey(signer.PublicKey())) != string(public) {
		t.Error("another key was loaded")
	}

	allowed := AllowedSignersFrom(dir)
	if b, err := allowed(); b != nil || err != nil {
		t.Errorf("no file gives %q, %v", b, err)
	}
	write(AllowedSignersFile, nil)
	if b, err := allowed(); b == nil || len(b) > 0 || err != nil {
		t.Errorf("an empty file gives %v, %v", b, err)
	}
	// A folder that is not there is not one without the file.
	for _, gone := range []string{filepath.Join(dir, "none"), filepath.Join(dir, SigningKeyFile)} {
		if b, err := AllowedSignersFrom(gone)(); err == nil || b != nil {
			t.Errorf("%s gives %q, %v", gone, b, err)
		}
	}
	if b, err := AllowedSignersFrom("")(); b != nil || err != nil {
		t.Errorf("no folder gives %q, %v", b, err)
	}
	if signer, err := SignerFrom("")(); signer != nil || err != nil {
		t.Errorf("no folder gives %v, %v", signer, err)
	}
}
