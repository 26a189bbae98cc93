package gitsource

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

func TestSSH(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	server, err := gittest.StartSSH(filepath.Dir(f.repo.Dir))
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	other, err := gittest.StartSSH(filepath.Dir(f.repo.Dir))
	must(t, err)
	t.Cleanup(func() { _ = other.Close() })
	private, public, err := gittest.NewKeyPair("open sesame")
	must(t, err)
	must(t, server.Authorize(public))

	f.opts.URL = server.URL("fleet")
	f.opts.CredentialsDir = t.TempDir()
	s := f.run()
	// The known_hosts line of another server, under this one's name.
	wrong := []byte(strings.Replace(string(other.KnownHosts()), port(other.Addr()), port(server.Addr()), 1))
	steps := []struct {
		name  string
		files map[string][]byte
		kind  Kind
		says  string
	}{
		{"no key", map[string][]byte{}, KindCredentials, "identity"},
		{"no passphrase", map[string][]byte{"identity": private}, KindCredentials, "passphrase"},
		{"wrong passphrase", map[string][]byte{"identity": private, "password": []byte("close")}, KindCredentials, "does not open"},
		{"no known_hosts", map[string][]byte{"identity": private, "password": []byte("open sesame"), "known_hosts": []byte("\n")}, KindCredentials, "ssh-keyscan"},
		{"unknown host", map[string][]byte{"identity": private, "password": []byte("open sesame"), "known_hosts": other.KnownHosts()}, KindHostKey, "is not in known_hosts"},
		{"another host key", map[string][]byte{"identity": private, "password": []byte("open sesame"), "known_hosts": wrong}, KindHostKey, "another"},
	}
	for _, step := range steps {
		writeSecret(t, f.opts.CredentialsDir, step.files)
		err := await(t, s, step.name, func(u Update) bool { return u.Err != nil && strings.Contains(u.Err.Error(), step.says) }).Err
		if KindOf(err) != step.kind {
			t.Errorf("%s: kind %s: %v", step.name, KindOf(err), err)
		}
		if strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the error holds a secret: %v", step.name, err)
		}
	}
	good := map[string][]byte{"identity": private, "password": []byte("open sesame"), "known_hosts": server.KnownHosts()}
	writeSecret(t, f.opts.CredentialsDir, good)
	head, err := f.repo.Head("main")
	must(t, err)
	awaitCommit(t, s, head)
	next := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # over ssh\n"))
	wantFile(t, awaitCommit(t, s, next), "fleet.yaml", "kind: Fleet # over ssh\n")

	// A known_hosts that has only the server's other key serves as well.
	good["known_hosts"] = server.SecondKnownHosts()
	writeSecret(t, f.opts.CredentialsDir, good)
	next = f.commit(gittest.Write("fleet.yaml", "kind: Fleet # other key\n"))
	awaitCommit(t, s, next)

	_, stranger, err := gittest.NewKeyPair("")
	must(t, err)
	must(t, server.Authorize(stranger))
	awaitKind(t, s, KindAuth)
	must(t, server.Authorize(public))
	last := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # again\n"))
	awaitCommit(t, s, last)
}

func TestSSHRepositoryNotFound(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	server, err := gittest.StartSSH(filepath.Dir(f.repo.Dir))
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	server.SetPassword("s3cret")
	f.opts.URL = server.URL("nowhere")
	f.opts.CredentialsDir = t.TempDir()
	writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"password": []byte("s3cret"), "known_hosts": server.KnownHosts()})
	awaitKind(t, f.run(), KindNotFound)
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
