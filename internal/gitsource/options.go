package gitsource

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Options says what a Source follows and how.
type Options struct {
	// URL is the repository: https, http, ssh, user@host:path, file, or a local path. Required.
	URL string
	// Branch is the branch to follow; default main.
	Branch string
	// Path is the fleet's directory in the repository; default ".".
	Path string
	// DataDir keeps the clone and its state between runs; one process at a time. Required.
	DataDir string
	// CredentialsDir is a mounted Secret with any of username, password, bearerToken, identity,
	// known_hosts, ca.crt, tls.crt and tls.key. It is read anew for every operation and watched.
	CredentialsDir string
	// Proxy is an HTTP(S) proxy's URL; default what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
	Proxy string

	// Poll is the time between two polls, spread by 10 %; default 15 s.
	Poll time.Duration
	// IdleTimeout ends an operation whose server has sent nothing for so long; default 30 s.
	IdleTimeout time.Duration
	// Timeout ends any operation; default 1 h.
	Timeout time.Duration
	// MaxPacks is how many packs add up before a fresh clone replaces them; default 50.
	MaxPacks int

	// UserAgent is sent to the server; default holdfast.
	UserAgent string
	// Log gets what happens outside of what is returned; the zero value discards it.
	Log zerolog.Logger

	// Observe, if set, is told of every attempt, from one goroutine at a time. It must not block.
	Observe func(Attempt)
	// AcceptHistory, if set, returns the acceptHistory of the candidate's fleet.yaml, "" for none.
	// It is asked only when the branch was rewritten.
	AcceptHistory func(candidate *Snapshot) (sha string, err error)
}

// Attempt is one poll and what followed from it.
type Attempt struct {
	// Start is when it began, Duration how long it took until its outcome was published.
	Start    time.Time
	Duration time.Duration
	// Commit is the branch's commit at the server, "" if that is unknown.
	Commit string
	// Changed tells whether the head moved.
	Changed bool
	// Traffic is what it took.
	Traffic
	// Err is why it failed; KindOf tells the kind. The last verified commit stays.
	Err error

	news bool // there is a head to publish: another commit, or the same one in another clone
	told bool // a head has been published
}

func (o *Options) validate() (address, error) {
	a, err := o.validateRemote()
	if err != nil {
		return a, err
	}
	if o.Branch == "" {
		o.Branch = "main"
	}
	o.Branch = strings.TrimPrefix(o.Branch, "refs/heads/")
	if err := checkBranch(o.Branch); err != nil {
		return a, err
	}
	if o.Path == "" {
		o.Path = "."
	}
	o.Path = path.Clean(filepath.ToSlash(o.Path))
	if !filepath.IsLocal(filepath.FromSlash(o.Path)) {
		return a, fmt.Errorf("the path %q is not inside the repository", o.Path)
	}
	if o.DataDir == "" {
		return a, errors.New("the data dir is not set")
	}
	if o.Poll == 0 {
		o.Poll = 15 * time.Second
	}
	if o.Poll < 0 {
		return a, errors.New("a time is negative")
	}
	if o.MaxPacks == 0 {
		o.MaxPacks = 50
	}
	return a, nil
}

// validateRemote is the part of validate that is about the server.
func (o *Options) validateRemote() (address, error) {
	a, err := parseAddress(o.URL)
	if err != nil {
		return a, err
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 30 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = time.Hour
	}
	if o.IdleTimeout < 0 || o.Timeout < 0 {
		return a, errors.New("a time is negative")
	}
	if o.UserAgent == "" {
		o.UserAgent = "holdfast"
	}
	o.UserAgent = strings.Join(strings.Fields(oneLine(o.UserAgent)), "-")
	return a, nil
}

// checkBranch refuses what git check-ref-format refuses, as the name becomes a path below the data dir.
func checkBranch(name string) error {
	bad := name == "" || strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.Contains(name, "..") ||
		strings.Contains(name, "@{") || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".")
	for _, part := range strings.Split(name, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	for i := range len(name) {
		bad = bad || name[i] < 0x20
	}
	if bad {
		return fmt.Errorf("%q is not a branch name", name)
	}
	return nil
}
