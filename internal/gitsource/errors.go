package gitsource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
)

// Kind says what an operation failed on. Its values are stable: they are labels of a metric.
type Kind string

// The kinds of failures.
const (
	KindAuth        Kind = "auth"        // the server refused the credentials, or wants some
	KindCredentials Kind = "credentials" // the credential files cannot be read or used
	KindHostKey     Kind = "host-key"    // the SSH host key is unknown or another
	KindCertificate Kind = "certificate" // the server's certificate does not verify
	KindUnreachable Kind = "unreachable" // no connection to the host
	KindTimeout     Kind = "timeout"     // the server stopped answering
	KindCut         Kind = "cut"         // the connection broke in the middle of an answer
	KindServer      Kind = "server"      // the server reports trouble of its own
	KindNotFound    Kind = "not-found"   // no such repository
	KindEmpty       Kind = "empty"       // the repository has no commit
	KindBranch      Kind = "branch"      // the branch is not there
	KindPath        Kind = "path"        // the fleet's directory is not in the commit
	KindRewritten   Kind = "rewritten"   // the branch does not descend from what was verified
	KindProtocol    Kind = "protocol"    // an answer that is not Git's
	KindTooLarge    Kind = "too-large"   // more than the caller accepts
	KindRefused     Kind = "refused"     // a hook or a rule of the server does not let a ref be pushed
	KindCorrupt     Kind = "corrupt"     // the data dir is damaged
	KindLocal       Kind = "local"       // the data dir cannot be written or read
)

// Error is a failed operation: what it was, on which repository, and what a person can do.
// Its text holds no credentials, nor does anything it unwraps to.
type Error struct {
	Kind Kind
	// Op is what was being done: "poll", "fetch", "clone", "push".
	Op string
	// URL is the repository, without credentials.
	URL string
	// Reason is what went wrong and what to do about it.
	Reason string
	cause  error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %s", e.Op, e.URL, e.Reason) }

// Unwrap gives context.Canceled when the operation was called off, and nothing else: the texts of
// other causes may hold credentials.
func (e *Error) Unwrap() error { return e.cause }

// KindOf tells what an error of this package is about; "" when it is none or nil.
func KindOf(err error) Kind {
	var e *Error
	var rewritten *RewrittenError
	var path *PathError
	switch {
	case errors.As(err, &rewritten):
		return KindRewritten
	case errors.As(err, &path):
		return KindPath
	case errors.As(err, &e):
		return e.Kind
	}
	return ""
}

// ErrUnknownCommit is a commit that is neither in the data dir nor in the branch's history.
var ErrUnknownCommit = errors.New("commit is not in the branch's history")

// RefMovedError is a push to a ref that is not what it was taken for. Nothing was changed.
type RefMovedError struct {
	Ref string
	// Now is what the ref is at the server; zero is that there is none.
	Now plumbing.Hash
}

func (e *RefMovedError) Error() string {
	if e.Now.IsZero() {
		return "the server has no ref " + e.Ref
	}
	return fmt.Sprintf("the ref %s has moved to %s", e.Ref, short(e.Now.String()))
}

// PathError is a commit without the fleet's directory.
type PathError struct{ Path, Commit string }

func (e *PathError) Error() string {
	return fmt.Sprintf("the directory %q is not in commit %s: nothing is deleted; restore it, or correct the path option", e.Path, short(e.Commit))
}

// tooLargeError is a file above the limit.
type tooLargeError struct{ size, limit int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("%d bytes are more than the limit of %d that a file may have", e.size, e.limit)
}

// failure is a problem whose kind is known where it happens.
type failure struct {
	kind   Kind
	reason string
}

func (f *failure) Error() string { return f.reason }

func fail(kind Kind, format string, args ...any) error {
	return &failure{kind: kind, reason: fmt.Sprintf(format, args...)}
}

// errIdle is why an operation is cancelled whose server has stopped answering.
var errIdle = errors.New("the server has stopped answering")

// classify makes an Error of whatever an operation failed with. secrets are taken out of its text.
func classify(ctx context.Context, op string, a address, secrets []string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	e := &Error{Op: op, URL: a.String()}
	e.Kind, e.Reason = describe(ctx, a, err)
	if e.Kind == "" {
		e.cause = context.Canceled
	}
	e.Reason = scrub(oneLine(e.Reason), append(secrets, a.password))
	return e
}

func describe(ctx context.Context, a address, err error) (Kind, string) {
	var f *failure
	var corrupt *corruptError
	if errors.As(err, &f) {
		return f.kind, f.reason
	}
	if errors.Is(context.Cause(ctx), errIdle) {
		return KindTimeout, "the server accepted the connection and stopped answering; it is tried again"
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return "", "called off"
	}
	if errors.As(err, &corrupt) {
		return KindCorrupt, corrupt.Error()
	}
	if kind, reason := describeTLS(err); kind != "" {
		return kind, reason
	}
	return describeNetwork(a, err)
}

func describeTLS(err error) (Kind, string) {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var alert tls.AlertError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return KindCertificate, "the server's certificate has expired or is not valid yet: renew it, or correct this machine's clock (" + invalid.Detail + ")"
	case errors.As(err, &authority):
		return KindCertificate, "the server's certificate is signed by an unknown authority: put the authority's certificate into ca.crt of the credentials"
	case errors.As(err, &host):
		return KindCertificate, "the server's certificate is for another name: " + host.Error()
	case errors.As(err, &invalid), errors.As(err, &verification):
		return KindCertificate, "the server's certificate does not verify: " + err.Error()
	case errors.As(err, &alert):
		return KindCertificate, "the server refused the TLS handshake (" + alert.Error() + "): does it want a client certificate (tls.crt and tls.key of the credentials)?"
	case errors.As(err, &record):
		return KindCertificate, "the server does not speak TLS there: is the URL's scheme or port right?"
	case strings.Contains(err.Error(), "remote error: tls:"):
		// net/http hides the alert's type; the text is crypto/tls's own.
		return KindCertificate, "the server refused this client's TLS certificate: check tls.crt and tls.key of the credentials (" + err.Error() + ")"
	}
	return "", ""
}

func describeNetwork(a address, err error) (Kind, string) {
	var dns *net.DNSError
	var op *net.OpError
	var path *os.PathError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		return KindUnreachable, fmt.Sprintf("the host %s is not known (DNS): %s", a.host, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return KindUnreachable, fmt.Sprintf("nothing listens on %s (connection refused)", a.hostPort())
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return KindUnreachable, fmt.Sprintf("no route to %s", a.hostPort())
	case errors.Is(err, syscall.ENOSPC):
		return KindLocal, "the data dir is full"
	case errors.Is(err, errBadPack):
		return KindProtocol, err.Error()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return KindCut, "the connection broke in the middle of the answer; it is tried again"
	case errors.As(err, &op) && op.Op == "dial":
		return KindUnreachable, fmt.Sprintf("no connection to %s: %s", a.hostPort(), op.Err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return KindTimeout, "the server did not answer in time; it is tried again"
	case errors.As(err, &path):
		return KindLocal, err.Error()
	case errors.As(err, &op):
		return KindCut, "the connection broke: " + op.Err.Error()
	default:
		return KindProtocol, err.Error()
	}
}

// short is a commit id for people.
func short(sha string) string {
	if len(sha) > 12 {
		return sha[:12]
	}
	return sha
}
