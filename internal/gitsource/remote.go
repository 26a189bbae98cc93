package gitsource

import (
	"context"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/rs/zerolog"
)

// Remote is a repository at a server, to ask for its refs, to fetch from and to push to. Its methods are
// not to be called at the same time.
type Remote struct {
	address     address
	credentials string // the directory
	proxy       string
	idle, total time.Duration
	agent       string
	log         zerolog.Logger

	pool httpPool
	// caps are what an HTTP server said that speaks protocol version 2 at the repository's own address:
	// with them a request needs no discovery before it. Nil when that is not known, or in doubt.
	caps   map[string]bool
	warned bool // about credentials over plain HTTP
}

// Ref is one reference at a server.
type Ref struct {
	Name string
	Hash plumbing.Hash
}

// Traffic is what an exchange with a server cost.
type Traffic struct {
	// Requests counts HTTP requests; over SSH and on the local disk, messages.
	Requests int
	// Bytes are those of the answers' bodies.
	Bytes int64
	// Received is the part of Bytes that was packs.
	Received int64
	// Sent are the bytes of pushes.
	Sent int64
}

// NewRemote makes a Remote. Of the options, those about the server count. It does not use the network.
func NewRemote(o Options) (*Remote, error) {
	a, err := o.validateRemote()
	if err != nil {
		return nil, err
	}
	return &Remote{
		address: a, credentials: o.CredentialsDir, proxy: o.Proxy,
		idle: o.IdleTimeout, total: o.Timeout, agent: o.UserAgent, log: o.Log,
	}, nil
}

// ListRefs returns the refs whose full names begin with any of the prefixes; none is all refs. With
// protocol version 2 the server sends only these; an older one sends all it has. It adds to t what that
// cost. Its errors are *Error.
func (r *Remote) ListRefs(ctx context.Context, t *Traffic, prefixes ...string) ([]Ref, error) {
	l, err := r.dial(ctx, "list refs", t, prefixes...)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.refs, nil
}

// Close gives up idle connections.
func (r *Remote) Close() { r.pool.close() }

// link is one conversation with a server, from its list of refs on.
type link struct {
	refs []Ref         // that were asked for
	tip  plumbing.Hash // of the branch, if a Source dialled

	remote  *Remote
	ad      advert
	conv    conversation
	ctx     context.Context // of the conversation: it ends with the link
	guard   *guard
	traffic *Traffic
	secrets []string
	used    bool
	blind   bool // the refs are not needed
}

// dial asks the server for the refs with these prefixes. Its errors are classified.
func (r *Remote) dial(ctx context.Context, op string, t *Traffic, prefixes ...string) (*link, error) {
	l, err := r.connect(ctx, op, t, fetching)
	if err != nil {
		return nil, err
	}
	return l.opened(op, prefixes)
}

// dialBlind is dial where the refs do not matter: a server of version 2 is not asked for any.
func (r *Remote) dialBlind(ctx context.Context, op string, t *Traffic) (*link, error) {
	l, err := r.connect(ctx, op, t, fetching)
	if err != nil {
		return nil, err
	}
	l.blind = true
	return l.opened(op, nil)
}

// connect prepares a conversation with a service of the server. It reads the credentials anew and sends
// nothing. Its errors are classified.
func (r *Remote) connect(ctx context.Context, op string, t *Traffic, s service) (*link, error) {
	creds, err := readCredentials(r.credentials)
	if err != nil {
		return nil, &Error{Kind: KindCredentials, Op: op, URL: r.address.String(), Reason: scrub(oneLine(err.Error()), nil)}
	}
	creds = creds.with(r.address)
	ctx, g := newGuard(ctx, r.idle, r.total, &t.Bytes)
	l := &link{remote: r, ctx: ctx, guard: g, traffic: t, secrets: creds.secrets()}
	if l.conv, err = r.converse(creds, s, func() { t.Requests++ }); err != nil {
		err = l.classify(op, err)
		l.close()
		return nil, err
	}
	return l, nil
}

func (r *Remote) converse(creds credentials, s service, count func()) (conversation, error) {
	switch r.address.scheme {
	case "http", "https":
		transport, err := r.pool.get(creds, r.proxy)
		if err != nil {
			return nil, err
		}
		if r.address.scheme == "http" && !r.address.loopback() && (creds.password != "" || creds.bearer != "") && !r.warned {
			r.warned = true
			r.log.Warn().Str("url", r.address.String()).Msg("the credentials travel unencrypted over plain http: use https")
		}
		return newHTTPConversation(s, transport, r.address, creds, r.agent, count), nil
	case "ssh":
		return &sshConversation{service: s, address: r.address, creds: creds, agent: r.agent, count: count}, nil
	default:
		return &fileConversation{service: s, address: r.address, count: count}, nil
	}
}

// opened finds out what the server speaks and asks for the refs. If that fails, the link is closed.
func (l *link) opened(op string, prefixes []string) (*link, error) {
	if err := l.open(prefixes); err != nil {
		err = l.classify(op, err)
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) open(prefixes []string) error {
	defer l.guard.pause()
	if h, ok := l.conv.(*httpConversation); ok {
		return l.openHTTP(h, prefixes)
	}
	return l.discover(prefixes)
}

// openHTTP leaves the discovery out where the server is known to speak version 2: then one small
// request tells what is wanted. An answer that is not understood, ends early (so does Git's own server
// of old when it is asked in version 2), or says that there is nothing at that address, puts what is
// known in doubt: the discovery decides.
func (l *link) openHTTP(h *httpConversation, prefixes []string) (err error) {
	r := l.remote
	if r.caps != nil {
		l.ad = advert{caps: r.caps, v2: true}
		if l.refs, err = l.lsRefs(prefixes); err == nil {
			return nil
		}
		r.caps = nil
		kind, _ := describe(l.ctx, r.address, err)
		if !slices.Contains([]Kind{KindProtocol, KindCut, KindNotFound}, kind) {
			return err
		}
		l.guard.resume()
	}
	if err := l.discover(prefixes); err != nil {
		return err
	}
	// Where a redirect led may change: that address is asked for each time.
	if l.ad.v2 && !h.redirected {
		r.caps = l.ad.caps
	}
	return nil
}

// discover asks what the server speaks, and then for the refs, which older servers list unasked.
func (l *link) discover(prefixes []string) error {
	r, err := l.conv.advertise(l.ctx)
	if err != nil {
		return err
	}
	l.ad, err = readAdvert(l.guard.reader(r), prefixes)
	if closeErr := r.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	if err != nil || !l.ad.v2 {
		l.refs = l.ad.refs
		return err
	}
	l.refs, err = l.lsRefs(prefixes)
	return err
}

func (l *link) lsRefs(prefixes []string) ([]Ref, error) {
	if l.blind {
		return nil, nil
	}
	answer, err := l.conv.request(l.ctx, l.ad.encodeLsRefs(l.remote.agent, prefixes), true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Close() }() // it has been read to the end, or is of no use
	return readRefs(l.guard.reader(answer), prefixes)
}

// branches counts the repository's branches.
func (l *link) branches() (int, error) {
	if !l.ad.v2 {
		return l.ad.branches, nil
	}
	l.guard.resume()
	defer l.guard.pause()
	refs, err := l.lsRefs([]string{"refs/heads/"})
	return len(refs), err
}

func (l *link) close() {
	if l.conv != nil {
		_ = l.conv.close() // everything needed has been read
	}
	l.guard.stop()
}

func (l *link) classify(op string, err error) error {
	return classify(l.ctx, op, l.remote.address, l.secrets, err)
}

// fetch brings the pack that w asks for into st.
func (l *link) fetch(op string, st *store, w wanted) error {
	l.used = true
	w.agent = l.remote.agent
	n, err := l.receive(st, w)
	l.traffic.Received += n
	if err != nil {
		l.remote.caps = nil // in doubt
		return l.classify(op, err)
	}
	return nil
}

func (l *link) receive(st *store, w wanted) (int64, error) {
	body, err := w.encode(l.ad)
	if err != nil {
		return 0, err
	}
	l.guard.resume()
	defer l.guard.pause()
	answer, err := l.conv.request(l.ctx, body, l.ad.v2)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Close() }() // it has been read to the end, or is of no use
	shallow, pack, err := readAnswer(l.guard.reader(answer), w.depth > 0 && !l.ad.v2)
	if err != nil {
		return 0, err
	}
	n, err := receivePack(l.ctx, &pausingReader{l.guard, pack}, st, w.intake)
	if err != nil {
		return n, err
	}
	if w.depth > 0 {
		if err := st.setShallow(shallow); err != nil {
			return n, err
		}
	}
	return n, nil
}
