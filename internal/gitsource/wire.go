package gitsource

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// The wire protocol, version 2 (Git's Documentation/gitprotocol-v2.txt) and for older servers versions 0
// and 1 (gitprotocol-pack.txt, gitprotocol-http.txt). The transports of go-git are not used: their options (authority, client
// certificate, user agent) are process-wide or lose the reason of a failure, they never send which
// commits are shallow unless a depth is asked for, and they do not speak multi_ack, without which some
// hosts (Azure DevOps, CodeCommit) refuse, nor version 2, without which each list of refs is a list of
// all refs. go-git's reader of packs is.

// version2 asks a server for it, in the header Git-Protocol or the environment variable GIT_PROTOCOL.
const version2 = "version=2"

// service is the program of the server that is talked to.
type service string

const (
	fetching service = "git-upload-pack"
	pushing  service = "git-receive-pack" // knows no version 2
)

// conversation is one exchange with a server's service.
type conversation interface {
	// advertise returns what the server says first. It is closed by the caller.
	advertise(ctx context.Context) (io.ReadCloser, error)
	// request sends what is wanted, in version 2 or an older one, and returns the answer. It is closed by
	// the caller.
	request(ctx context.Context, body []byte, v2 bool) (io.ReadCloser, error)
	// close ends the conversation, wherever it is.
	close() error
}

// advert is what a server says about itself. In version 2 that is only what it can do.
type advert struct {
	v2       bool
	caps     map[string]bool // of version 2 with the features of fetch, and "object-format"
	refs     []Ref           // that were asked for
	branches int
}

// packet tells what a pkt-line is.
type packet int

const (
	data  packet = iota
	flush        // 0000, the end of a message
	delim        // 0001, the end of a section
)

// pktReader reads pkt-lines.
type pktReader struct {
	r   *bufio.Reader
	buf []byte
}

func newPktReader(r io.Reader) *pktReader { return &pktReader{r: bufio.NewReader(r)} }

// next returns a line without its length, valid until the next call. The end of the stream between two
// lines is io.ErrUnexpectedEOF, as a message always ends with a flush.
func (p *pktReader) next() ([]byte, packet, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, data, err
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 32)
	if err != nil {
		peek, _ := p.r.Peek(min(p.r.Buffered(), 80)) // only to show it
		return nil, data, fail(KindProtocol, "the server's answer is not Git's: it begins with %q: is the URL right?", string(head[:])+string(peek))
	}
	switch {
	case n == 0:
		return nil, flush, nil
	case n == 1:
		return nil, delim, nil
	case n < 4 || n > 65520:
		return nil, data, fail(KindProtocol, "the server's answer is not Git's: a line of %d bytes", n)
	}
	p.buf = slices.Grow(p.buf[:0], int(n-4))[:n-4]
	if _, err := io.ReadFull(p.r, p.buf); err != nil {
		return nil, data, io.ErrUnexpectedEOF
	}
	return p.buf, data, nil
}

// readAdvert reads what a server says first. Before version 2 that is the list of all refs, of which
// those with these prefixes are kept.
func readAdvert(r io.Reader, prefixes []string) (advert, error) {
	p := newPktReader(r)
	ad := advert{caps: map[string]bool{}}
	first := true
	for {
		raw, kind, err := p.next()
		if err != nil {
			return ad, err
		}
		line := strings.TrimSuffix(string(raw), "\n")
		switch {
		case kind == flush && first:
			// After the line "# service=...", or of an empty repository.
			if _, err := p.r.Peek(1); err != nil {
				return ad, nil //nolint:nilerr // nothing follows: no refs
			}
			continue
		case kind == flush:
			return ad, nil
		case line == "version 2" && first:
			ad.v2, first = true, false
			continue
		case strings.HasPrefix(line, "# service="), strings.HasPrefix(line, "version "), strings.HasPrefix(line, "shallow "):
			continue
		case strings.HasPrefix(line, "ERR "):
			return ad, remoteError(line[4:])
		case ad.v2:
			if err := ad.addCapability(line); err != nil {
				return ad, err
			}
			continue
		}
		if first {
			first = false
			var caps string
			line, caps, _ = strings.Cut(line, "\x00")
			for _, c := range strings.Fields(caps) {
				ad.caps[c] = true
			}
		}
		ref, err := parseRef(line)
		if err != nil {
			return ad, err
		}
		if strings.HasPrefix(ref.Name, "refs/heads/") {
			ad.branches++
		}
		if hasPrefix(ref.Name, prefixes) && ref.Name != "capabilities^{}" {
			ad.refs = append(ad.refs, ref)
		}
	}
}

// addCapability reads a line such as "fetch=shallow filter".
func (ad *advert) addCapability(line string) error {
	name, value, _ := strings.Cut(line, "=")
	ad.caps[name] = true
	switch name {
	case "fetch":
		for _, feature := range strings.Fields(value) {
			ad.caps[feature] = true
		}
	case "object-format":
		if value != "sha1" {
			return fail(KindProtocol, "the repository's object format is %q: only SHA-1 repositories are supported", oneLine(value))
		}
	}
	return nil
}

func parseRef(line string) (Ref, error) {
	sha, name, ok := strings.Cut(line, " ")
	if !ok || !fullSHA.MatchString(sha) {
		return Ref{}, fail(KindProtocol, "the server's list of branches is not understood: %q (only SHA-1 repositories are supported)", oneLine(line))
	}
	return Ref{Name: name, Hash: plumbing.NewHash(sha)}, nil
}

// hasPrefix tells whether name begins with any of the prefixes; none is every name.
func hasPrefix(name string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// encodeCommand writes the beginning of a request of version 2.
func (ad advert) encodeCommand(command, agent string) *pktWriter {
	w := new(pktWriter)
	w.line("command=%s", command)
	w.line("agent=%s", agent)
	if ad.caps["object-format"] {
		w.line("object-format=sha1")
	}
	w.WriteString("0001")
	return w
}

// encodeLsRefs asks for the refs with these prefixes.
func (ad advert) encodeLsRefs(agent string, prefixes []string) []byte {
	w := ad.encodeCommand("ls-refs", agent)
	for _, p := range prefixes {
		w.line("ref-prefix %s", p)
	}
	w.WriteString("0000")
	return w.Bytes()
}

// readRefs reads the answer to ls-refs. A server may send more than was asked for, which is left out.
func readRefs(r io.Reader, prefixes []string) ([]Ref, error) {
	p := newPktReader(r)
	var refs []Ref
	for {
		raw, kind, err := p.next()
		if err != nil {
			return nil, err
		}
		if kind == flush {
			return refs, nil
		}
		line := strings.TrimSuffix(string(raw), "\n")
		if text, ok := strings.CutPrefix(line, "ERR "); ok {
			return nil, remoteError(text)
		}
		ref, err := parseRef(line)
		if err != nil {
			return nil, err
		}
		ref.Name, _, _ = strings.Cut(ref.Name, " ") // attributes
		if hasPrefix(ref.Name, prefixes) {
			refs = append(refs, ref)
		}
	}
}

// pktWriter writes pkt-lines.
type pktWriter struct{ bytes.Buffer }

func (w *pktWriter) line(format string, args ...any) {
	w.packet(fmt.Sprintf(format, args...) + "\n")
}

func (w *pktWriter) packet(s string) {
	_, _ = fmt.Fprintf(w, "%04x%s", len(s)+4, s) // a buffer never fails
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
	for _, s := range []string{"denied", "permission", "unauthorized", "authentication", "forbidden", "not authorized", "not allowed", "read only", "write access"} {
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
	more    []plumbing.Hash // further commits
	haves   []plumbing.Hash
	shallow []plumbing.Hash // the boundary of what is here
	depth   int             // 0: the whole history
	filter  string          // which objects to leave out; the server must know filters
	agent   string
	intake  intake
}

// encode writes the request; done is sent at once, as there is nothing to negotiate about.
func (w wanted) encode(ad advert) ([]byte, error) {
	if !ad.v2 && !ad.caps["side-band-64k"] {
		return nil, fail(KindProtocol, "the server is too old: it has no side-band-64k")
	}
	if (w.depth > 0 || len(w.shallow) > 0) && !ad.caps["shallow"] {
		return nil, fail(KindProtocol, "the server does not serve shallow clones")
	}
	var b *pktWriter
	if ad.v2 {
		b = ad.encodeCommand("fetch", w.agent)
		b.line("ofs-delta")
		b.line("no-progress")
		b.line("want %s", w.tip)
	} else {
		b = new(pktWriter)
		b.line("want %s %s", w.tip, strings.Join(w.options(ad.caps), " "))
	}
	for _, h := range w.more {
		b.line("want %s", h)
	}
	for _, h := range w.shallow {
		b.line("shallow %s", h)
	}
	if w.depth > 0 {
		b.line("deepen %d", w.depth)
	}
	if w.filter != "" {
		b.line("filter %s", w.filter)
	}
	if !ad.v2 {
		b.WriteString("0000")
	}
	for _, h := range w.haves {
		b.line("have %s", h)
	}
	b.line("done")
	if ad.v2 {
		b.WriteString("0000")
	}
	return b.Bytes(), nil
}

// options are the capabilities to ask for before version 2.
func (w wanted) options(caps map[string]bool) []string {
	ask := []string{"side-band-64k"}
	for _, c := range []string{"ofs-delta", "no-progress", "multi_ack_detailed"} {
		if caps[c] {
			ask = append(ask, c)
		}
	}
	if !caps["multi_ack_detailed"] && caps["multi_ack"] {
		ask = append(ask, "multi_ack")
	}
	if w.filter != "" {
		ask = append(ask, "filter")
	}
	return append(ask, "agent="+w.agent)
}

// readAnswer reads what comes before the pack, and returns the new shallow boundary if a depth was
// asked for, and the pack. boundary is set if that ends with a flush of its own, as it does before
// version 2.
func readAnswer(r io.Reader, boundary bool) (shallow []plumbing.Hash, pack io.Reader, err error) {
	p := newPktReader(r)
	for {
		line, kind, err := p.next()
		if err != nil {
			return nil, nil, err
		}
		text := string(line)
		switch {
		case kind == flush && boundary:
			boundary = false
		case kind == flush:
			return nil, nil, fail(KindProtocol, "the server's answer has no pack")
		case kind == delim, text == "shallow-info\n", text == "packfile\n", text == "":
		case strings.HasPrefix(text, "shallow "):
			shallow = append(shallow, plumbing.NewHash(strings.TrimSpace(text[8:])))
		case strings.HasPrefix(text, "unshallow "), strings.HasPrefix(text, "ACK "), strings.HasPrefix(text, "NAK"):
		case strings.HasPrefix(text, "ERR "):
			return nil, nil, remoteError(text[4:])
		case line[0] >= 1 && line[0] <= 3:
			return shallow, &sideband{p: p, first: append([]byte(nil), line...)}, nil
		default:
			return nil, nil, fail(KindProtocol, "the server's answer is not understood: %q", oneLine(text))
		}
	}
}

// sideband takes the pack, or the report of a push, out of the channels that the server mixes: 1 is that, 2
// progress and what hooks say, 3 a fatal error.
type sideband struct {
	p     *pktReader
	said  *tail // gets channel 2, if it is set
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
			next, kind, err := s.p.next()
			if err != nil {
				return 0, err
			}
			if kind == flush {
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
			if s.said != nil {
				_, _ = s.said.Write(line[1:]) // never fails
			}
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
