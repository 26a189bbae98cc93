package gitsource

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// The wire protocol, versions 0 and 1, from Git's Documentation/gitprotocol-pack.txt and
// gitprotocol-http.txt. The transports of go-git are not used: their options (authority, client
// certificate, user agent) are process-wide or lose the reason of a failure, they never send which
// commits are shallow unless a depth is asked for, and they do not speak multi_ack, without which some
// hosts (Azure DevOps, CodeCommit) refuse. go-git's object storage is.

// conversation is one exchange with a server's git-upload-pack.
type conversation interface {
	// advertise returns what the server says first. It is closed by the caller.
	advertise(ctx context.Context) (io.ReadCloser, error)
	// request sends what is wanted and returns the answer. It is closed by the caller.
	request(ctx context.Context, body []byte) (io.ReadCloser, error)
	// close ends the conversation, wherever it is.
	close() error
}

// advert is what a server says about itself.
type advert struct {
	tip  plumbing.Hash // of the branch; zero if it has none
	refs int
	caps map[string]bool
}

// pktReader reads pkt-lines.
type pktReader struct{ r *bufio.Reader }

// next returns a line without its length; flush is the special line 0000. The end of the stream
// between two lines is io.ErrUnexpectedEOF, as a conversation always ends with a flush.
func (p pktReader) next(buf []byte) (line []byte, flush bool, err error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 32)
	if err != nil {
		peek, _ := p.r.Peek(min(p.r.Buffered(), 80)) // only to show it
		return nil, false, fail(KindProtocol, "the server's answer is not Git's: it begins with %q: is the URL right?", string(head[:])+string(peek))
	}
	if n == 0 {
		return nil, true, nil
	}
	if n < 4 || n > 65520 {
		return nil, false, fail(KindProtocol, "the server's answer is not Git's: a line of %d bytes", n)
	}
	line = buf[:n-4]
	if _, err := io.ReadFull(p.r, line); err != nil {
		return nil, false, io.ErrUnexpectedEOF
	}
	return line, false, nil
}

func newPktBuffer() []byte { return make([]byte, 65520) }

// readAdvert reads the list of refs and finds the branch's commit in it.
func readAdvert(r io.Reader, branch string) (advert, error) {
	p := pktReader{bufio.NewReaderSize(r, 16<<10)}
	buf := newPktBuffer()
	ad := advert{caps: map[string]bool{}}
	want := "refs/heads/" + branch
	first := true
	for {
		raw, flush, err := p.next(buf)
		if err != nil {
			return ad, err
		}
		line := strings.TrimSuffix(string(raw), "\n")
		switch {
		case flush && first:
			// After the line "# service=...", or of an empty repository.
			if _, err := p.r.Peek(1); err != nil {
				return ad, nil //nolint:nilerr // nothing follows: no refs
			}
			continue
		case flush:
			return ad, nil
		case strings.HasPrefix(line, "# service="), strings.HasPrefix(line, "version "), strings.HasPrefix(line, "shallow "):
			continue
		case strings.HasPrefix(line, "ERR "):
			return ad, remoteError(line[4:])
		}
		if first {
			first = false
			var caps string
			line, caps, _ = strings.Cut(line, "\x00")
			for _, c := range strings.Fields(caps) {
				ad.caps[c] = true
			}
		}
		sha, name, ok := strings.Cut(line, " ")
		if !ok || len(sha) != 40 {
			return ad, fail(KindProtocol, "the server's list of branches is not understood: %q (only SHA-1 repositories are supported)", oneLine(line))
		}
		if name == "capabilities^{}" {
			continue
		}
		ad.refs++
		if name == want {
			ad.tip = plumbing.NewHash(sha)
		}
	}
}

// remoteError makes sense of an error message of the server.
func remoteError(text string) error {
	text = oneLine(text)
	lower := strings.ToLower(text)
	for _, s := range []string{"not found", "does not exist", "not appear to be a git repository", "no such", "could not be found", "could not read from"} {
		if strings.Contains(lower, s) {
			return fail(KindNotFound, "no such repository, or these credentials may not see it (the server says: %s)", text)
		}
	}
	for _, s := range []string{"denied", "permission", "unauthorized", "authentication", "forbidden", "not authorized"} {
		if strings.Contains(lower, s) {
			return fail(KindAuth, "the server refused the credentials (it says: %s)", text)
		}
	}
	if strings.Contains(lower, "dubious ownership") {
		return fail(KindLocal, "git refuses a repository that belongs to another user: allow it with git config --global --add safe.directory (it says: %s)", text)
	}
	return fail(KindProtocol, "the server says: %s", text)
}

// wanted is one request for a pack.
type wanted struct {
	tip     plumbing.Hash
	haves   []plumbing.Hash
	shallow []plumbing.Hash // the boundary of what is here
	depth   int             // 0: the whole history
	agent   string
}

// encode writes the request; done is sent at once, as there is nothing to negotiate about.
func (w wanted) encode(caps map[string]bool) ([]byte, error) {
	if !caps["side-band-64k"] {
		return nil, fail(KindProtocol, "the server is too old: it has no side-band-64k")
	}
	if (w.depth > 0 || len(w.shallow) > 0) && !caps["shallow"] {
		return nil, fail(KindProtocol, "the server does not serve shallow clones")
	}
	ask := []string{"side-band-64k"}
	for _, c := range []string{"ofs-delta", "no-progress", "multi_ack_detailed"} {
		if caps[c] {
			ask = append(ask, c)
		}
	}
	if !caps["multi_ack_detailed"] && caps["multi_ack"] {
		ask = append(ask, "multi_ack")
	}
	ask = append(ask, "agent="+w.agent)
	var b bytes.Buffer
	line := func(format string, args ...any) {
		s := fmt.Sprintf(format, args...) + "\n"
		fmt.Fprintf(&b, "%04x%s", len(s)+4, s)
	}
	line("want %s %s", w.tip, strings.Join(ask, " "))
	for _, h := range w.shallow {
		line("shallow %s", h)
	}
	if w.depth > 0 {
		line("deepen %d", w.depth)
	}
	b.WriteString("0000")
	for _, h := range w.haves {
		line("have %s", h)
	}
	line("done")
	return b.Bytes(), nil
}

// readAnswer reads what comes before the pack, and returns the new shallow boundary if a depth was
// asked for, and the pack.
func readAnswer(r io.Reader, depth int) (shallow []plumbing.Hash, pack io.Reader, err error) {
	p := pktReader{bufio.NewReaderSize(r, 64<<10)}
	buf := newPktBuffer()
	inShallow := depth > 0
	for {
		line, flush, err := p.next(buf)
		if err != nil {
			return nil, nil, err
		}
		text := string(line)
		switch {
		case flush && inShallow:
			inShallow = false
		case flush:
			return nil, nil, fail(KindProtocol, "the server's answer has no pack")
		case strings.HasPrefix(text, "shallow "):
			shallow = append(shallow, plumbing.NewHash(strings.TrimSpace(text[8:])))
		case strings.HasPrefix(text, "unshallow "), strings.HasPrefix(text, "ACK "), strings.HasPrefix(text, "NAK"):
		case strings.HasPrefix(text, "ERR "):
			return nil, nil, remoteError(text[4:])
		case line[0] >= 1 && line[0] <= 3:
			return shallow, &sideband{p: p, buf: buf, rest: nil, first: append([]byte(nil), line...)}, nil
		default:
			return nil, nil, fail(KindProtocol, "the server's answer is not understood: %q", oneLine(text))
		}
	}
}

// sideband takes the pack out of the channels that the server mixes: 1 the pack, 2 progress, 3 a fatal error.
type sideband struct {
	p     pktReader
	buf   []byte
	rest  []byte
	first []byte
	done  bool
}

func (s *sideband) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		line := s.first
		s.first = nil
		if line == nil {
			next, flush, err := s.p.next(s.buf)
			if err != nil {
				return 0, err
			}
			if flush {
				s.done = true
				continue
			}
			line = next
		}
		if len(line) == 0 {
			continue
		}
		switch line[0] {
		case 1:
			s.rest = line[1:]
		case 2:
		case 3:
			return 0, remoteError(string(line[1:]))
		default:
			return 0, fail(KindProtocol, "the server's answer has an unknown channel %d", line[0])
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
