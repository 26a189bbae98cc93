package gittest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHServer serves the repositories of one directory over SSH.
type SSHServer struct {
	dir      string
	listener net.Listener
	host     ssh.Signer
	second   ssh.Signer // a host key of another kind
	wg       sync.WaitGroup

	mu         sync.Mutex
	authorized ssh.PublicKey
	password   string
	readOnly   bool
	conns      map[net.Conn]bool
	sessions   int
}

// StartSSH serves the bare repositories below dir. Nobody may log in until Authorize or SetPassword.
func StartSSH(dir string) (*SSHServer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create the host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("create the host key: %w", err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create the host key: %w", err)
	}
	second, err := ssh.NewSignerFromKey(ecKey)
	if err != nil {
		return nil, fmt.Errorf("create the host key: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the SSH server: %w", err)
	}
	s := &SSHServer{dir: dir, listener: l, host: signer, second: second, conns: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	return s, nil
}

// NewKeyPair makes a client key: its private half as OpenSSH PEM (encrypted when passphrase is not
// empty) and its public half in the authorized_keys format.
func NewKeyPair(passphrase string) (private, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		return nil, nil, err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(sshPub), nil
}

// Authorize lets the holder of this key (authorized_keys format) in, and nobody else's key.
func (s *SSHServer) Authorize(public []byte) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey(public)
	if err != nil {
		return fmt.Errorf("parse the authorised key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authorized = key
	return nil
}

// SetPassword lets in who knows the password; "" lifts that.
func (s *SSHServer) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// SetReadOnly makes the keys and the password ones that may only read, or lifts that.
func (s *SSHServer) SetReadOnly(readOnly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readOnly = readOnly
}

// Addr is host:port.
func (s *SSHServer) Addr() string { return s.listener.Addr().String() }

// URL is the ssh:// address of the repository NAME.git.
func (s *SSHServer) URL(name string) string { return "ssh://git@" + s.Addr() + "/" + name + ".git" }

// SecondKnownHosts is the line of a known_hosts file for the server's other host key (ECDSA).
func (s *SSHServer) SecondKnownHosts() []byte {
	return []byte(knownhosts.Line([]string{s.Addr()}, s.second.PublicKey()) + "\n")
}

// KnownHosts is the line of a known_hosts file for this server's first host key (Ed25519).
func (s *SSHServer) KnownHosts() []byte {
	return []byte(knownhosts.Line([]string{s.Addr()}, s.host.PublicKey()) + "\n")
}

// Sessions is how many commands have been run.
func (s *SSHServer) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Close stops the server and cuts its connections.
func (s *SSHServer) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close() // the client is going away as well
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *SSHServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(conn)
			_ = conn.Close() // already answered
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

var errRefused = errors.New("not authorised")

func (s *SSHServer) serve(conn net.Conn) {
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.authorized != nil && bytes.Equal(s.authorized.Marshal(), key.Marshal()) {
				return &ssh.Permissions{}, nil
			}
			return nil, errRefused
		},
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.password != "" && s.password == string(password) {
				return &ssh.Permissions{}, nil
			}
			return nil, errRefused
		},
	}
	config.AddHostKey(s.host)
	config.AddHostKey(s.second)
	sc, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer func() { _ = sc.Close() }() // nobody to tell
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions") // the client sees its own error
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		s.session(ch, reqs)
	}
}

func (s *SSHServer) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }() // nobody to tell
	protocol := ""
	for req := range reqs {
		var env struct{ Name, Value string }
		if req.Type == "env" && ssh.Unmarshal(req.Payload, &env) == nil && env.Name == "GIT_PROTOCOL" {
			protocol = env.Value
		}
		if req.Type != "exec" {
			if req.WantReply {
				_ = req.Reply(false, nil) // the client sees its own error
			}
			continue
		}
		var payload struct{ Command string }
		if err := ssh.Unmarshal(req.Payload, &payload); err != nil {
			_ = req.Reply(false, nil) // the client sees its own error
			return
		}
		if req.WantReply {
			if err := req.Reply(true, nil); err != nil {
				return
			}
		}
		status := s.exec(payload.Command, protocol, ch)
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status})) // best effort
		return
	}
}

func (s *SSHServer) exec(command, protocol string, ch ssh.Channel) uint32 {
	s.mu.Lock()
	s.sessions++
	readOnly := s.readOnly
	s.mu.Unlock()
	service, arg, _ := strings.Cut(command, " ")
	switch {
	case service == "git-receive-pack" && readOnly:
		_, _ = io.WriteString(ch.Stderr(), "ERROR: The key you are authenticating with has been marked as read only.\n") // best effort
		return 1
	case service != "git-upload-pack" && service != "git-receive-pack":
		_, _ = io.WriteString(ch.Stderr(), "only git-upload-pack and git-receive-pack are served\n") // best effort
		return 1
	}
	name := filepath.Base(strings.Trim(arg, "'"))
	dir := filepath.Join(s.dir, name)
	if _, err := os.Stat(dir); err != nil {
		_, _ = fmt.Fprintf(ch.Stderr(), "fatal: '%s' does not appear to be a git repository\n", name) // best effort
		return 128
	}
	cmd := exec.Command("git", strings.TrimPrefix(service, "git-"), dir)
	cmd.Env = append(Environment(), "GIT_PROTOCOL="+protocol)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
	if err := cmd.Run(); err != nil {
		return 128
	}
	return 0
}
