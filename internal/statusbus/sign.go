package statusbus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// The files of the credentials folder.
const (
	SigningKeyFile      = "signing.key"      // this cluster's private key, in OpenSSH's format
	SigningPasswordFile = "signing.password" // its passphrase, if it has one
	AllowedSignersFile  = "allowed_signers"  // whose keys are believed: see AllowedSigners
)

// namespace keeps a signature from being taken for one of something else. It is what git uses, so that
// `git verify-commit` accepts ours and we accept git's.
const namespace = "git"

// SignerFrom returns a function that reads the signing key of a credentials folder anew at each call, so
// that a rotated key counts at once. It returns nil without an error where there is no key, and its errors
// hold no part of one. dir "" is no folder.
func SignerFrom(dir string) func() (ssh.Signer, error) {
	return func() (ssh.Signer, error) {
		key, err := readCredential(dir, SigningKeyFile)
		if key == nil || err != nil {
			return nil, err
		}
		signer, err := ssh.ParsePrivateKey(key)
		var missing *ssh.PassphraseMissingError
		if !errors.As(err, &missing) {
			if err != nil {
				return nil, fmt.Errorf("%s of the credentials is not a private key that can be used: make one with `ssh-keygen -t ed25519`", SigningKeyFile)
			}
			return signer, nil
		}
		password, err := readCredential(dir, SigningPasswordFile)
		if err != nil {
			return nil, err
		}
		if password == nil {
			return nil, fmt.Errorf("%s of the credentials is encrypted: put its passphrase into %s", SigningKeyFile, SigningPasswordFile)
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(key, []byte(strings.TrimRight(string(password), "\r\n")))
		if err != nil {
			return nil, fmt.Errorf("the passphrase in %s does not open %s of the credentials", SigningPasswordFile, SigningKeyFile)
		}
		return signer, nil
	}
}

// AllowedSignersFrom returns a function that reads the allowed-signers file of a credentials folder anew
// at each call. It returns nil without an error where there is no such file; an empty file is not nil.
// dir "" is no folder.
func AllowedSignersFrom(dir string) func() ([]byte, error) {
	return func() ([]byte, error) { return readCredential(dir, AllowedSignersFile) }
}

// readCredential reads a file of the credentials folder; nil is that there is none. Only a folder that is
// there can lack a file: otherwise nothing is known.
func readCredential(dir, name string) ([]byte, error) {
	if dir == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(dir); err == nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	return b, nil
}

// sign signs a commit as `git commit -S` does with gpg.format=ssh (OpenSSH's PROTOCOL.sshsig).
func sign(c *object.Commit, signer ssh.Signer) error {
	content, err := signedPart(c)
	if err != nil {
		return fmt.Errorf("sign the status: %w", err)
	}
	signature, err := sshsig.Sign(bytes.NewReader(content), signer, sshsig.HashSHA512, namespace)
	if err != nil {
		return fmt.Errorf("sign the status: %w", err)
	}
	c.PGPSignature = string(sshsig.Armor(signature))
	return nil
}
