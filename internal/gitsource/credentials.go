package gitsource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// credentials are the files of a mounted Secret, with the keys that Flux uses.
type credentials struct {
	username, password string
	bearer             string
	identity           []byte
	knownHosts         []byte
	ca, cert, key      []byte
}

// readCredentials reads the files below dir; "" is none. They are read anew for each network
// operation, so a rotated Secret counts at once.
func readCredentials(dir string) (credentials, error) {
	var c credentials
	if dir == "" {
		return c, nil
	}
	if info, err := os.Stat(dir); err != nil {
		return c, fmt.Errorf("read credentials: %w", err)
	} else if !info.IsDir() {
		return c, fmt.Errorf("read credentials: %s is not a directory", dir)
	}
	for name, to := range map[string]any{
		"username": &c.username, "password": &c.password, "bearerToken": &c.bearer,
		"identity": &c.identity, "known_hosts": &c.knownHosts,
		"ca.crt": &c.ca, "tls.crt": &c.cert, "tls.key": &c.key,
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c, fmt.Errorf("read credentials: %w", err)
		}
		switch p := to.(type) {
		case *string:
			*p = strings.TrimRight(string(b), "\r\n")
		case *[]byte:
			*p = b
		}
	}
	return c, nil
}

// with adds what the URL itself holds, where the directory holds nothing.
func (c credentials) with(a address) credentials {
	if c.username == "" && c.password == "" && c.bearer == "" {
		c.username, c.password = a.user, a.password
	} else if a.scheme == "ssh" && a.user != "" {
		c.username = a.user
	}
	return c
}

// secrets lists what must never be printed.
func (c credentials) secrets() []string {
	var s []string
	for _, v := range []string{c.password, c.bearer} {
		if len(v) > 0 {
			s = append(s, v)
		}
	}
	// A user name is often a token when there is no password beside it.
	if c.password == "" && c.username != "" && c.username != "git" {
		s = append(s, c.username)
	}
	return s
}
