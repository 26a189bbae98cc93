package gitsource

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestBackoffAndSpread(t *testing.T) {
	cases := []struct {
		n         int
		low, high time.Duration
	}{
		{0, 500 * time.Millisecond, time.Second},
		{1, 500 * time.Millisecond, time.Second},
		{2, time.Second, 2 * time.Second},
		{5, 8 * time.Second, 16 * time.Second},
		{7, 32 * time.Second, 64 * time.Second},
		{8, time.Minute, 2 * time.Minute},
		{1 << 40, time.Minute, 2 * time.Minute},
	}
	for _, c := range cases {
		if got := Backoff(c.n, backoffMost, 0); got != c.low {
			t.Errorf("Backoff(%d, 0) = %s, want %s", c.n, got, c.low)
		}
		if got := Backoff(c.n, backoffMost, 0.9999999999); got > c.high || got < c.high-time.Millisecond {
			t.Errorf("Backoff(%d, 1) = %s, want %s", c.n, got, c.high)
		}
	}
	if Spread(10*time.Second, 0) != 9*time.Second || Spread(10*time.Second, 0.5) != 10*time.Second {
		t.Error("spread leaves 10 %")
	}
}

func TestParseAddress(t *testing.T) {
	cases := []struct {
		name, raw string
		shown     string
		err       string
	}{
		{"https", "https://github.com/acme/fleet.git", "https://github.com/acme/fleet.git", ""},
		{"password", "https://ada:s3cret@github.com/acme/fleet", "https://github.com/acme/fleet", ""},
		{"token as user", "https://s3cret@github.com/acme/fleet/", "https://github.com/acme/fleet", ""},
		{"port and IPv6", "http://[::1]:8080/fleet.git", "http://[::1]:8080/fleet.git", ""},
		{"escaped path", "https://h/a%20b.git", "https://h/a%20b.git", ""},
		{"ssh", "ssh://git@github.com:2222/acme/fleet.git", "ssh://git@github.com:2222/acme/fleet.git", ""},
		{"short ssh", "git@github.com:acme/fleet.git", "ssh://git@github.com/acme/fleet.git", ""},
		{"file", "file:///srv/fleet.git", "file:///srv/fleet.git", ""},
		{"path", "/srv/fleet.git", "file:///srv/fleet.git", ""},
		{"path with a colon", "/srv/a:b", "file:///srv/a:b", ""},
		{"unescaped password", "https://ada:s3c%ret@h/x", "", "percent-encoded"},
		{"query", "https://h/x?token=s3cret", "", "query"},
		{"git protocol", "git://h/x", "", "not supported"},
		{"no host", "https:///x", "", "no host"},
		{"no path", "https://h", "", "no path"},
		{"option as host", "ssh://-oProxyCommand=x/y", "", "not valid"},
		{"file on a host", "file://srv/fleet", "", "three slashes"},
		{"empty", "", "", "empty"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, err := parseAddress(c.raw)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want an error with %q", err, c.err)
				}
				if strings.Contains(err.Error(), "s3c") {
					t.Fatalf("the error holds the password: %v", err)
				}
				return
			}
			if err != nil || a.String() != c.shown {
				t.Fatalf("got %s, %v, want %s", a, err, c.shown)
			}
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"https://ada:pw@h/x", "git@h:x", "ssh://u:pw@h:22/x", "/a", "https://%zz@h/", "a:b:c@d:e", "https://u:p@w@h/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := parseAddress(raw)
		if err != nil {
			return
		}
		if again, err := parseAddress(a.String()); strings.HasPrefix(a.scheme, "http") && (err != nil || again.host != a.host) {
			t.Errorf("%q is shown as %q, which is %+v, %v", raw, a, again, err)
		}
		if strings.HasPrefix(a.host, "-") {
			t.Errorf("%q has the host %q", raw, a.host)
		}
	})
}

func FuzzScrub(f *testing.F) {
	f.Add("Get https://ada:", "s3cret", "@host/x: refused")
	f.Add("Authorization: Bearer ", "abc", "")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < 4 || strings.Trim(secret, "*") == "" || strings.Contains(before+"***"+after, secret) {
			return
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			// Scrubbing may join what was apart, but never leaves the secret where it was.
			got := scrub(before+form+after, []string{secret})
			if strings.Contains(got, secret) && !strings.Contains(scrub(before+after, nil), secret) {
				t.Errorf("%q leaves the secret %q", got, secret)
			}
		}
	})
}

func TestScrub(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"url", `Get "https://ada:pw@h/x": refused`, `Get "https://h/x": refused`},
		{"secret", "the token t0ken-1 is not valid", "the token *** is not valid"},
		{"escaped", "t0ken%2F1 and t0ken/1", "*** and ***"},
		{"header", "Authorization: Basic YWRhOnB3 refused", "Authorization: Basic *** refused"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := scrub(c.in, []string{"t0ken-1", "t0ken/1"}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	good := Options{URL: "https://h/x", DataDir: "d"}
	cases := []struct {
		name   string
		change func(*Options)
		err    string
	}{
		{"defaults", func(*Options) {}, ""},
		{"no data dir", func(o *Options) { o.DataDir = "" }, "data dir"},
		{"no url", func(o *Options) { o.URL = "" }, "empty"},
		{"path outside", func(o *Options) { o.Path = "../x" }, "not inside"},
		{"absolute path", func(o *Options) { o.Path = "/x" }, "not inside"},
		{"branch with dots", func(o *Options) { o.Branch = "a/../b" }, "not a branch name"},
		{"branch with a space", func(o *Options) { o.Branch = "a b" }, "not a branch name"},
		{"full ref", func(o *Options) { o.Branch = "refs/heads/release/1" }, ""},
		{"negative time", func(o *Options) { o.Poll = -1 }, "negative"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := o.validate()
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func FuzzReadAdvert(f *testing.F) {
	f.Add([]byte("001e# service=git-upload-pack\n0000"))
	f.Add([]byte("0000"))
	f.Add([]byte("003f" + strings.Repeat("a", 40) + " refs/heads/main\x00shallow\n0000"))
	f.Add([]byte("000eversion 2\n000cls-refs\n0013fetch=shallow \n0000"))
	f.Add([]byte("0011shallow-info\n0001000dpackfile\n0006\x01P0000"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = readAdvert(strings.NewReader(string(b)), []string{"refs/heads/main"}) // must not panic
		_, pack, err := readAnswer(strings.NewReader(string(b)), true)
		if err == nil {
			buf := make([]byte, 100)
			for err == nil {
				_, err = pack.Read(buf)
			}
		}
	})
}

func FuzzReadRefs(f *testing.F) {
	line := strings.Repeat("a", 40) + " refs/heads/main"
	f.Add([]byte("003d" + line + "\n0000"))
	f.Add([]byte("003c" + line + "0000"))
	f.Add([]byte("0008ERR 0000"))
	f.Add([]byte("0001"))
	f.Fuzz(func(t *testing.T, b []byte) {
		refs, err := readRefs(strings.NewReader(string(b)), []string{"refs/heads/"})
		if err != nil && refs != nil {
			t.Error("half a list is no list")
		}
		for _, r := range refs {
			if !strings.HasPrefix(r.Name, "refs/heads/") || strings.ContainsAny(r.Name, " \n") && !strings.Contains(string(b), r.Name) {
				t.Errorf("ref %q", r.Name)
			}
		}
	})
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("h", 20) + "40000 b\x00" + strings.Repeat("i", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseTree(b)
		if err != nil {
			return
		}
		for _, e := range d.entries {
			if e.name == "" || e.name == ".." || strings.Contains(e.name, "/") {
				t.Errorf("entry %q", e.name)
			}
		}
	})
}
