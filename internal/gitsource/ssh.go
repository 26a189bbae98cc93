package gitsource

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshConversation runs the service on the server. The user's own ~/.ssh and agent play no part.
type sshConversation struct {
	service service
	address address
	creds   credentials
	agent   string
	count   func() // of a message

	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  *tail
	unhook  func() bool
}

func (s *sshConversation) advertise(ctx context.Context) (io.ReadCloser, error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, "tcp", s.address.hostPort())
	if err != nil {
		return nil, err
	}
	// The ssh package knows no contexts: closing the connection is how to end what it does.
	s.unhook = context.AfterFunc(ctx, func() { _ = conn.Close() }) // the reader sees the end
	sc, channels, requests, err := ssh.NewClientConn(conn, s.address.hostPort(), config)
	if err != nil {
		_ = conn.Close() // already failed
		return nil, s.handshakeError(err)
	}
	s.client = ssh.NewClient(sc, channels, requests)
	if s.session, err = s.client.NewSession(); err != nil {
		return nil, err
	}
	if s.stdin, err = s.session.StdinPipe(); err != nil {
		return nil, err
	}
	if s.stdout, err = s.session.StdoutPipe(); err != nil {
		return nil, err
	}
	s.stderr = &tail{}
	s.session.Stderr = s.stderr
	// As git does: without waiting for an answer, as a server that does not allow it speaks version 0.
	if s.service == fetching {
		env := struct{ Name, Value string }{"GIT_PROTOCOL", version2}
		if _, err := s.session.SendRequest("env", false, ssh.Marshal(env)); err != nil {
			return nil, err
		}
	}
	s.count()
	if err := s.session.Start(string(s.service) + " " + shellQuote(s.address.path)); err != nil {
		return nil, err
	}
	return io.NopCloser(&explainedReader{s.stdout, s.explain}), nil
}

func (s *sshConversation) request(_ context.Context, body []byte, _ bool) (io.ReadCloser, error) {
	s.count()
	if _, err := s.stdin.Write(body); err != nil {
		return nil, s.explain(err)
	}
	return io.NopCloser(&explainedReader{s.stdout, s.explain}), nil
}

func (s *sshConversation) close() error {
	if s.unhook != nil {
		s.unhook()
	}
	if s.stdin != nil {
		_, _ = io.WriteString(s.stdin, "0000") // says goodbye; the other side may have gone already
	}
	if s.client != nil {
		_ = s.client.Close() // as above
	}
	return nil
}

// explain replaces an early end by what the server wrote to its standard error, which is where a host
// says that a repository does not exist.
func (s *sshConversation) explain(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	_ = s.session.Wait() // for the rest of standard error; its status adds nothing
	if text := s.stderr.String(); text != "" {
		return remoteError(text)
	}
	return io.ErrUnexpectedEOF
}

func (s *sshConversation) config() (*ssh.ClientConfig, error) {
	user := s.address.user
	if user == "" {
		user = s.creds.username
	}
	if user == "" {
		user = "git"
	}
	config := &ssh.ClientConfig{User: user, ClientVersion: "SSH-2.0-" + sshAgent(s.agent), Timeout: 30 * time.Second}
	switch {
	case len(s.creds.identity) > 0:
		signer, err := s.signer()
		if err != nil {
			return nil, err
		}
		config.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	case s.creds.password != "":
		config.Auth = []ssh.AuthMethod{ssh.Password(s.creds.password)}
	default:
		return nil, fail(KindCredentials, "SSH needs a private key: put it into identity of the credentials (and its passphrase, if it has one, into password)")
	}
	if len(bytes.TrimSpace(s.creds.knownHosts)) == 0 {
		port := s.address.port
		if port == "" {
			port = "22"
		}
		return nil, fail(KindCredentials, "SSH needs known_hosts in the credentials: make it with `ssh-keyscan -p %s %s > known_hosts`, "+
			"and compare the key's fingerprint with the one the host publishes", port, s.address.host)
	}
	callback, err := knownHosts(s.creds.knownHosts)
	if err != nil {
		return nil, err
	}
	config.HostKeyCallback = callback
	config.HostKeyAlgorithms = hostKeyAlgorithms(callback, s.address.hostPort())
	return config, nil
}

func (s *sshConversation) signer() (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(s.creds.identity)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if s.creds.password == "" {
			return nil, fail(KindCredentials, "the private key in identity is encrypted: put its passphrase into password of the credentials")
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(s.creds.identity, []byte(s.creds.password))
		if err != nil {
			return nil, fail(KindCredentials, "the passphrase in password does not open the private key in identity")
		}
	}
	if err != nil {
		return nil, fail(KindCredentials, "identity of the credentials is not a private key that can be used")
	}
	return signer, nil
}

// knownHosts parses the file's content; the library reads only files, so it passes through one that
// is gone when this returns.
func knownHosts(content []byte) (ssh.HostKeyCallback, error) {
	f, err := os.CreateTemp("", "known_hosts-")
	if err != nil {
		return nil, fmt.Errorf("read known_hosts: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // in the temporary directory
	_, err = f.Write(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read known_hosts: %w", err)
	}
	callback, err := knownhosts.New(f.Name())
	if err != nil {
		reason := strings.ReplaceAll(err.Error(), f.Name(), "known_hosts")
		return nil, fail(KindCredentials, "known_hosts of the credentials cannot be read: %s", reason)
	}
	return callback, nil
}

// hostKeyAlgorithms asks the server for a key of a kind that known_hosts has: with another kind the
// key would look like a wrong one.
func hostKeyAlgorithms(callback ssh.HostKeyCallback, hostPort string) []string {
	probe, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil
	}
	var keyErr *knownhosts.KeyError
	if !errors.As(callback(hostPort, &net.TCPAddr{IP: net.IPv4zero}, probe), &keyErr) {
		return nil
	}
	var algorithms []string
	for _, k := range keyErr.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, t)
		}
	}
	return algorithms
}

func (s *sshConversation) handshakeError(err error) error {
	var keyErr *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	host := s.address.hostPort()
	switch {
	case errors.As(err, &revoked):
		return fail(KindHostKey, "the host key of %s is revoked in known_hosts", host)
	case errors.As(err, &keyErr) && len(keyErr.Want) == 0:
		return fail(KindHostKey, "the host key of %s is not in known_hosts of the credentials: add the line that `ssh-keyscan` prints "+
			"for it, after comparing its fingerprint with the one the host publishes", host)
	case errors.As(err, &keyErr):
		return fail(KindHostKey, "the host key of %s is another than the one in known_hosts: the host has a new key, or this is another host; "+
			"replace the line only after comparing the fingerprint with the one the host publishes", host)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fail(KindAuth, "the SSH server refused the credentials: is the public half of identity a deploy key of the repository?")
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fail(KindHostKey, "the host key of %s is another than the one in known_hosts: the server no longer offers a key of that kind", host)
	}
	return err
}

// explainedReader replaces an early end by its explanation.
type explainedReader struct {
	r       io.Reader
	explain func(error) error
}

func (r *explainedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n == 0 && err != nil {
		err = r.explain(err)
	}
	return n, err
}

// shellQuote quotes a path for the shell on the other side, as Git does (quote.c, sq_quote_buf).
func shellQuote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

// sshAgent makes the user agent fit the protocol's version line.
func sshAgent(agent string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '-' || r > '~' {
			return '_'
		}
		return r
	}, agent)
}

// tail keeps the first lines of a standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 2048 - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
