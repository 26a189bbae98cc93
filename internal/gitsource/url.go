package gitsource

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// address is a parsed repository URL.
type address struct {
	scheme   string // http, https, ssh or file
	host     string // without the port
	port     string // "" is the scheme's own
	path     string // of a URL: still escaped
	user     string
	password string
}

var (
	// scpLike is user@host:path, the short form of an SSH address.
	scpLike = regexp.MustCompile(`^(?:([^@/\s]+)@)?([^:/@\s]+|\[[0-9a-fA-F:.]+\]):([^\s].*)$`)
	// hostName is a name, an IPv4 address, or an IPv6 address with its zone.
	hostName = regexp.MustCompile(`^[\pL\pN._~]([\pL\pN._~-]*|[0-9a-fA-F:.]*(%[\pL\pN._~-]+)?)$|^:[0-9a-fA-F:.]*(%[\pL\pN._~-]+)?$`)
)

// parseAddress reads https://, http://, ssh://, file:// URLs, user@host:path, and local paths.
// Its errors never hold a password that the URL may have.
func parseAddress(raw string) (address, error) {
	if raw == "" {
		return address{}, errors.New("the repository URL is empty")
	}
	if strings.Contains(raw, "://") {
		return parseURL(raw)
	}
	if !filepath.IsAbs(raw) && !strings.HasPrefix(raw, ".") {
		if m := scpLike.FindStringSubmatch(raw); m != nil {
			user, password, _ := strings.Cut(m[1], ":")
			a := address{scheme: "ssh", host: strings.Trim(m[2], "[]"), path: m[3], user: user, password: password}
			if !hostName.MatchString(a.host) {
				return address{}, errors.New("the repository URL's host is not valid")
			}
			return a, nil
		}
	}
	abs, err := filepath.Abs(raw)
	if err != nil {
		return address{}, fmt.Errorf("find the repository: %w", err)
	}
	return address{scheme: "file", path: abs}, nil
}

func parseURL(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats the whole URL, password included; its reason may repeat a part of it.
		return address{}, errors.New("the repository URL is not valid; a password in it must be percent-encoded, " +
			"and is better kept in the credentials directory")
	}
	a := address{scheme: strings.ToLower(u.Scheme), host: u.Hostname(), port: u.Port(), path: u.EscapedPath()}
	if u.User != nil {
		a.user = u.User.Username()
		a.password, _ = u.User.Password()
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return address{}, errors.New("the repository URL must not have a query (?...) or a fragment (#...)")
	}
	switch a.scheme {
	case "http", "https":
		a.path = strings.TrimRight(a.path, "/")
	case "ssh":
		a.path = u.Path
	case "file":
		if a.host != "" && a.host != "localhost" {
			return address{}, fmt.Errorf("the repository URL file://%s... names a host; a local path has three slashes", a.host)
		}
		a.path, a.host = filepath.FromSlash(u.Path), ""
	default:
		return address{}, fmt.Errorf("the repository URL's scheme %q is not supported: use https, ssh or file", a.scheme)
	}
	if a.scheme != "file" && a.host == "" {
		return address{}, errors.New("the repository URL has no host")
	}
	if a.scheme != "file" && !hostName.MatchString(a.host) {
		return address{}, errors.New("the repository URL's host is not valid")
	}
	if a.path == "" {
		return address{}, errors.New("the repository URL has no path")
	}
	return a, nil
}

// hostPort is what to dial.
func (a address) hostPort() string {
	port := a.port
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ssh": "22"}[a.scheme]
	}
	return net.JoinHostPort(a.host, port)
}

// base is the URL of an HTTP repository without credentials and without a slash at the end.
func (a address) base() string {
	host := a.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.port != "" {
		host += ":" + a.port
	}
	return a.scheme + "://" + host + a.path
}

// String is the address for people: never with a password or, over HTTP, a user, which may be a token.
func (a address) String() string {
	switch a.scheme {
	case "file":
		return "file://" + filepath.ToSlash(a.path)
	case "ssh":
		s := "ssh://"
		if a.user != "" && a.password == "" {
			s += a.user + "@"
		}
		host := a.host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if a.port != "" {
			host += ":" + a.port
		}
		return s + host + "/" + strings.TrimPrefix(a.path, "/")
	default:
		return a.base()
	}
}

func (a address) loopback() bool {
	if a.host == "localhost" {
		return true
	}
	ip := net.ParseIP(a.host)
	return ip != nil && ip.IsLoopback()
}
