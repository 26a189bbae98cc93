package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Push says what a ref is to become, whatever it was before.
type Push struct {
	// Ref is the full name.
	Ref string
	// Old is what the ref is believed to be; zero is that there is none.
	Old plumbing.Hash
	// New is the commit that it is to become.
	New plumbing.Hash
	// Objects are that commit and all that it needs, few and small: the server is taken to have none of it.
	Objects []plumbing.EncodedObject
}

// Push makes a ref point at another commit, which need not descend from what it was (gitprotocol-pack.txt,
// "Pushing Data To a Server"). Nothing is changed unless the ref is u.Old: else the error is a
// *RefMovedError, and with what it says the push can be tried again. Over HTTP that is one request: what
// the server would say first, the list of all its refs, is not asked for, and nothing is used that it would
// have to offer there but the report of what became of the push. Push adds to t what that cost. Its other
// errors are *Error; KindAuth and KindRefused do not pass by themselves. After an error with a broken
// connection the ref may be u.New all the same.
func (r *Remote) Push(ctx context.Context, t *Traffic, u Push) error {
	const op = "push"
	pack, err := u.pack()
	if err != nil {
		return &Error{Kind: KindLocal, Op: op, URL: r.address.String(), Reason: err.Error()}
	}
	l, err := r.connect(ctx, op, t, pushing)
	if err != nil {
		return err
	}
	defer l.close()
	err = l.push(u, pack)
	var moved *RefMovedError
	var refused *refusedError
	switch {
	case err == nil || errors.As(err, &moved):
		return err
	case errors.As(err, &refused):
		return r.explain(ctx, op, t, u, l, refused)
	}
	err = l.classify(op, err)
	var e *Error
	if errors.As(err, &e) && e.Kind == KindAuth {
		e.Reason += "; a push takes more rights than reading: give these credentials the right to write " +
			"(a deploy key, the permission for it), or use a repository where they have it"
	}
	return err
}

// explain tells why the server refused a push. Its words differ from server to server ("failed to update
// ref", "reference already exists", what a hook wrote), so what the ref is now decides whether it has moved.
func (r *Remote) explain(ctx context.Context, op string, t *Traffic, u Push, l *link, refused *refusedError) error {
	refs, err := r.ListRefs(ctx, t, u.Ref)
	if err != nil {
		return err
	}
	now := find(refs, u.Ref)
	switch {
	case now == u.New: // the push was sent twice, as the first answer was lost
		return nil
	case now != u.Old:
		return &RefMovedError{Ref: u.Ref, Now: now}
	case refused.passing():
		return l.classify(op, fail(KindServer, "the server could not update %s (it says: %s)", u.Ref, oneLine(refused.reason)))
	}
	return l.classify(op, fail(KindRefused, "the server does not let %s be updated (it says: %s): a hook or a rule forbids it; "+
		"let these credentials create and overwrite that ref, or use another repository", u.Ref, oneLine(refused.reason)))
}

func find(refs []Ref, name string) plumbing.Hash {
	i := slices.IndexFunc(refs, func(r Ref) bool { return r.Name == name })
	if i < 0 {
		return plumbing.ZeroHash
	}
	return refs[i].Hash
}

// push sends the request and reads what became of it.
func (l *link) push(u Push, pack []byte) error {
	ask := []string{"report-status"}
	_, overHTTP := l.conv.(*httpConversation)
	if !overHTTP {
		ad, err := l.hear(u.Ref)
		if err != nil {
			return err
		}
		if now := find(ad.refs, u.Ref); now != u.Old {
			return &RefMovedError{Ref: u.Ref, Now: now}
		}
		if !ad.caps["report-status"] {
			return fail(KindProtocol, "the server is too old: it does not report what becomes of a push")
		}
		if ad.caps["side-band-64k"] {
			ask = append(ask, "side-band-64k") // for what its hooks say
		}
		ask = append(ask, "agent="+l.remote.agent)
	}
	body := u.encode(ask, pack)
	l.traffic.Sent += int64(len(body))
	answer, err := l.conv.request(l.ctx, body, false)
	if errors.Is(err, errRedirected) {
		if err = l.relocate(); err == nil {
			answer, err = l.conv.request(l.ctx, body, false)
		}
	}
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // it has been read to the end, or is of no use
	r := l.guard.reader(answer)
	said := new(tail)
	if slices.Contains(ask, "side-band-64k") {
		r = &sideband{p: newPktReader(r), said: said}
	}
	err = readReport(r, u.Ref)
	var refused *refusedError
	if text := said.String(); errors.As(err, &refused) && text != "" {
		refused.reason += ": " + text
	}
	return err
}

// hear reads what the server says first, of which the ref and its capabilities matter.
func (l *link) hear(ref string) (advert, error) {
	r, err := l.conv.advertise(l.ctx)
	if err != nil {
		return advert{}, err
	}
	ad, err := readAdvert(l.guard.reader(r), []string{ref})
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	return ad, err
}

// relocate finds out where a redirect leads. The discovery of a fetch tells that as well, and with version 2
// it lists no refs.
func (l *link) relocate() error {
	h := l.conv.(*httpConversation) // no other is redirected
	there := *h
	there.service = fetching
	answer, err := there.advertise(l.ctx)
	if err != nil {
		return err
	}
	_ = answer.Close() // where it came from is all that is wanted
	h.base, h.trust = there.base, there.trust
	return nil
}

// encode writes the request: the command with the capabilities that are asked for, and the pack.
func (u Push) encode(ask []string, pack []byte) []byte {
	w := new(pktWriter)
	w.packet(fmt.Sprintf("%s %s %s\x00 %s", u.Old, u.New, u.Ref, strings.Join(ask, " ")))
	w.WriteString("0000")
	w.Write(pack)
	return w.Bytes()
}

// pack writes the objects as a pack.
func (u Push) pack() ([]byte, error) {
	st := memory.NewStorage()
	var hashes []plumbing.Hash
	for _, o := range u.Objects {
		h, err := st.SetEncodedObject(o)
		if err != nil {
			return nil, fmt.Errorf("write a pack: %w", err)
		}
		hashes = append(hashes, h)
	}
	if !slices.Contains(hashes, u.New) {
		return nil, fmt.Errorf("write a pack: commit %s is not among the objects", u.New)
	}
	var b bytes.Buffer
	if _, err := packfile.NewEncoder(&b, st, false).Encode(hashes, 0); err != nil {
		return nil, fmt.Errorf("write a pack: %w", err)
	}
	return b.Bytes(), nil
}

// refusedError is a ref that the server reports not to have updated.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

// passing tells whether the server names trouble of its own: somebody else's lock of that ref, or a full disk.
func (e *refusedError) passing() bool {
	return slices.ContainsFunc([]string{"failed to ", "cannot lock ", "unpack"}, func(p string) bool { return strings.HasPrefix(e.reason, p) })
}

// readReport reads what became of a push of one ref (gitprotocol-pack.txt, "Report Status"). The error is a
// *refusedError if the server did not update it; success is only what the server says in so many words.
func readReport(r io.Reader, ref string) error {
	p := newPktReader(r)
	unpacked, updated := "", false
	var refused *refusedError
	for {
		raw, kind, err := p.next()
		if err != nil {
			return err
		}
		if kind == flush {
			break
		}
		line := strings.TrimSuffix(string(raw), "\n")
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "unpack":
			unpacked = rest
		case "ok":
			updated = updated || rest == ref
		case "ng":
			if name, reason, _ := strings.Cut(rest, " "); name == ref {
				refused = &refusedError{reason}
			}
		case "option":
		case "ERR":
			return remoteError(rest)
		default:
			return fail(KindProtocol, "the server's report of the push is not understood: %q", oneLine(line))
		}
	}
	switch {
	case unpacked != "" && unpacked != "ok":
		return &refusedError{"unpack " + unpacked}
	case refused != nil:
		return refused
	case unpacked == "" || !updated:
		return fail(KindProtocol, "the server does not say what became of the push")
	}
	return nil
}
