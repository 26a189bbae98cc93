package statusbus

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const someCommit = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"

// reportOf is a small report of a cluster with one app.
func reportOf(cluster string, at time.Time) status.Report {
	return status.NewReport(status.Reporter{Cluster: cluster, Agent: "v0.1.0", Commit: someCommit}, map[string]status.AppState{
		"storefront": {Revision: someCommit, Placement: someCommit, Ready: true, Since: at.Add(-time.Minute), Replicas: status.Replicas{Desired: 6, Ready: 6}},
	}, at)
}

// newKey makes a key to sign with.
func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	return signer
}

// allow is the line of an allowed-signers file.
func allow(principals, options string, key ssh.Signer) string {
	return strings.TrimSpace(principals+" "+options) + " " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
}

// foundIn is what a reader finds where u was pushed.
func foundIn(t testing.TB, u gitsource.Push) found {
	t.Helper()
	var f found
	for _, o := range u.Objects {
		r, err := o.Reader()
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		switch o.Type() {
		case plumbing.CommitObject:
			f.commit, err = decodeCommit(content)
			must(t, err)
		case plumbing.BlobObject:
			f.content = content
		default:
		}
	}
	return f
}

// pushOf is a push of the report.
func pushOf(t testing.TB, report status.Report, signer ssh.Signer) gitsource.Push {
	t.Helper()
	u, err := newPush(report, signer)
	must(t, err)
	return u
}

// bus is a status repository in memory, which counts what it is asked.
type bus struct {
	t testing.TB

	mu      sync.Mutex
	refs    map[string]plumbing.Hash
	commits map[plumbing.Hash]found
	toxic   map[plumbing.Hash]error // commits that make every fetch fail that asks for them
	down    error
	lists   [][]string // the prefixes of each
	fetches [][]plumbing.Hash
	times   []time.Time // of the lists
}

func newBus(t testing.TB) *bus {
	t.Helper()
	return &bus{t: t, refs: map[string]plumbing.Hash{}, commits: map[plumbing.Hash]found{}, toxic: map[plumbing.Hash]error{}}
}

// put points a cluster's ref at a report, which may be of another one.
func (b *bus) put(cluster string, report status.Report, signer ssh.Signer) plumbing.Hash {
	b.t.Helper()
	u := pushOf(b.t, report, signer)
	return b.putFound(cluster, u.New, foundIn(b.t, u))
}

func (b *bus) putFound(cluster string, h plumbing.Hash, f found) plumbing.Hash {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refs[Ref(cluster)], b.commits[h] = h, f
	return h
}

func (b *bus) remove(cluster string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.refs, Ref(cluster))
}

func (b *bus) setDown(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = err
}

// heal lets every commit be fetched.
func (b *bus) heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.toxic)
}

func (b *bus) counts() (lists, fetches int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lists), len(b.fetches)
}

func (b *bus) list(_ context.Context, t *gitsource.Traffic, prefixes []string) ([]gitsource.Ref, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Requests++
	b.lists, b.times = append(b.lists, prefixes), append(b.times, time.Now())
	if b.down != nil {
		return nil, b.down
	}
	var out []gitsource.Ref
	for name, h := range b.refs {
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				out = append(out, gitsource.Ref{Name: name, Hash: h})
				break
			}
		}
	}
	return out, nil
}

func (b *bus) fetch(_ context.Context, t *gitsource.Traffic, commits []plumbing.Hash, _ int64, each func(plumbing.Hash, found)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Requests++
	b.fetches = append(b.fetches, commits)
	if b.down != nil {
		return b.down
	}
	for _, h := range commits {
		if err := b.toxic[h]; err != nil {
			return err
		}
	}
	for _, h := range commits {
		each(h, b.commits[h])
	}
	return nil
}

// push is a Publisher's way to the bus.
func (b *bus) push(_ context.Context, t *gitsource.Traffic, u gitsource.Push) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Requests++
	if b.down != nil {
		return b.down
	}
	if now := b.refs[u.Ref]; now != u.Old {
		return &gitsource.RefMovedError{Ref: u.Ref, Now: now}
	}
	b.refs[u.Ref], b.commits[u.New] = u.New, foundIn(b.t, u)
	b.times = append(b.times, time.Now())
	return nil
}

func (b *bus) pushes() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]time.Time(nil), b.times...)
}

// published is the report that a cluster's ref holds.
func (b *bus) published(cluster string) (status.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.commits[b.refs[Ref(cluster)]]
	if !ok {
		return status.Report{}, errors.New("nothing is published")
	}
	return status.Decode(bytes.NewReader(f.content))
}

// lines is a log whose messages are counted.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *lines) logger() zerolog.Logger { return zerolog.New(l) }

// refusal is an error of gitsource with that kind.
func refusal(kind gitsource.Kind, reason string) error {
	return &gitsource.Error{Kind: kind, Op: "push", URL: "https://git.example.com/fleet", Reason: reason}
}

// bareCommit is a commit that nobody made with newPush.
func bareCommit(message string, at time.Time) (plumbing.Hash, *object.Commit) {
	who := object.Signature{Name: "x", Email: "x@example.com", When: at}
	c := &object.Commit{Author: who, Committer: who, Message: message}
	o := new(plumbing.MemoryObject)
	if err := c.Encode(o); err != nil {
		panic(fmt.Sprint("a commit cannot be written: ", err))
	}
	return o.Hash(), c
}
