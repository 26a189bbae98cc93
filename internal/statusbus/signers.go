package statusbus

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// AllowedSigners says whose key may sign for which clusters. It is the file that ssh-keygen(1) describes
// under ALLOWED SIGNERS and git uses as gpg.ssh.allowedSignersFile:
//
//	us-east-1          namespaces="git" ssh-ed25519 AAAA...
//	eu-*,!eu-test      valid-after="20260101Z",valid-before="20270101Z" ssh-ed25519 AAAA...
//
// The principals are patterns for the cluster's name. Differences to ssh-keygen: a line of a certificate
// authority is refused, as certificates are not supported; and since it is the signer who says when he
// signed, a key must be valid at the commit's time and also now, or one that was stolen could sign for ever
// by dating back.
type AllowedSigners struct{ keys []allowedKey }

// allowedKey is one line.
type allowedKey struct {
	line       int
	principals string    // a list of patterns
	namespaces string    // as principals; "" is any
	after      time.Time // zero is no bound
	before     time.Time
	key        ssh.PublicKey
}

// ParseAllowedSigners reads such a file. Lines that cannot be used are left out, so nobody is believed
// because of them; the error names them, and the result is to be used all the same.
func ParseAllowedSigners(b []byte) (*AllowedSigners, error) {
	a := new(AllowedSigners)
	var errs []error
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := parseAllowedKey(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: line %d is left out: %w", AllowedSignersFile, i+1, err))
			continue
		}
		k.line = i + 1
		a.keys = append(a.keys, k)
	}
	return a, errors.Join(errs...)
}

func parseAllowedKey(line string) (allowedKey, error) {
	var k allowedKey
	var rest string
	var ok bool
	if quoted, found := strings.CutPrefix(line, `"`); found {
		k.principals, rest, ok = strings.Cut(quoted, `"`)
	} else if i := strings.IndexAny(line, " \t"); i > 0 {
		k.principals, rest, ok = line[:i], line[i:], true
	}
	if !ok || k.principals == "" {
		return k, errors.New("it is not of the form: clusters, options, key type, key")
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return k, errors.New("it has no key that can be read after the clusters and the options")
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return k, errors.New("certificates are not supported: put the key itself there")
	}
	k.key = key
	seen := map[string]bool{}
	for _, option := range options {
		name, value, has := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if seen[name] {
			return k, fmt.Errorf("the option %s is there twice", name)
		}
		seen[name] = true
		if has {
			if value, err = unquote(value); err != nil {
				return k, fmt.Errorf("the option %s: %w", name, err)
			}
		}
		if err := k.set(name, value, has); err != nil {
			return k, err
		}
	}
	if !k.after.IsZero() && !k.before.IsZero() && !k.after.Before(k.before) {
		return k, errors.New("valid-before is not later than valid-after")
	}
	return k, nil
}

// set takes over an option.
func (k *allowedKey) set(name, value string, has bool) (err error) {
	switch {
	case name == "cert-authority":
		return errors.New("cert-authority is not supported: list the clusters' own keys")
	case name == "namespaces" && has && value != "":
		k.namespaces = value
	case name == "valid-after" && has:
		k.after, err = parseTime(value)
	case name == "valid-before" && has:
		k.before, err = parseTime(value)
	default:
		return fmt.Errorf("the option %q is not known, or lacks its value", name)
	}
	return err
}

// unquote takes the quotes off an option's value, which must have them.
func unquote(s string) (string, error) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", errors.New("its value must be in double quotes")
	}
	return strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`), nil
}

// parseTime reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with a Z at its end in UTC, else in this
// machine's time zone, as ssh-keygen has it.
func parseTime(s string) (time.Time, error) {
	at, zone := s, time.Local
	if utc, ok := strings.CutSuffix(strings.ToUpper(s), "Z"); ok {
		at, zone = utc, time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(at) == len(layout) {
			if t, err := time.ParseInLocation(layout, at, zone); err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time of the form YYYYMMDD or YYYYMMDDHHMM[SS], with or without a Z", s)
}

// matchList tells whether a name matches a list of patterns as ssh_config(5) has them under PATTERNS: one
// of them, and none of those with an exclamation mark.
func matchList(name, list string) bool {
	matched := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		// path.Match has the same * and ?, for names without a slash, and more that is to mean itself.
		pattern = strings.NewReplacer(`\`, `\\`, `[`, `\[`).Replace(pattern)
		if ok, err := path.Match(pattern, name); err != nil || !ok {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// check returns nil if a commit has a good signature by a key that may sign for the cluster. The error is
// for people: it completes a sentence about the cluster's status.
func (a *AllowedSigners) check(cluster string, c *object.Commit, now time.Time) error {
	if c.PGPSignature == "" {
		return fmt.Errorf("it is not signed: give that cluster's agent a %s, or take %s away here and restart", SigningKeyFile, AllowedSignersFile)
	}
	signature, err := sshsig.Unarmor([]byte(c.PGPSignature))
	if err != nil {
		return errors.New("its signature is not an SSH signature that can be read")
	}
	if signature.Namespace != namespace {
		return fmt.Errorf("its signature is for %q, not for a commit", signature.Namespace)
	}
	content, err := signedPart(c)
	if err != nil {
		return errors.New("its commit cannot be read")
	}
	if err := sshsig.Verify(bytes.NewReader(content), signature, signature.PublicKey, signature.HashAlgorithm, namespace); err != nil {
		return errors.New("its signature does not fit its content: it was altered or forged")
	}
	// What is read later must be what was signed, however a commit with odd headers is taken apart.
	signed, err := decodeCommit(content)
	if err != nil || signed.TreeHash != c.TreeHash || !signed.Committer.When.Equal(c.Committer.When) {
		return errors.New("its signature is for another content")
	}
	return a.allows(cluster, signature.PublicKey, c.Committer.When, now)
}

// allows tells whether a key may sign for a cluster what it signed at that time.
func (a *AllowedSigners) allows(cluster string, key ssh.PublicKey, signed, now time.Time) error {
	reason := fmt.Errorf("it is signed by the key %s, which %s does not list for it: add a line if the key is that cluster's, "+
		"else find out who pushes to %s", ssh.FingerprintSHA256(key), AllowedSignersFile, Ref(cluster))
	for _, k := range a.keys {
		if !bytes.Equal(k.key.Marshal(), key.Marshal()) || !matchList(cluster, k.principals) {
			continue
		}
		switch {
		case k.namespaces != "" && !matchList(namespace, k.namespaces):
			reason = fmt.Errorf("it is signed by a key that may not sign commits (%s, line %d: namespaces must hold %q)", AllowedSignersFile, k.line, namespace)
		case !k.validAt(signed) || !k.validAt(now):
			reason = fmt.Errorf("it is signed by a key that is not valid any more, or not yet (%s, line %d): "+
				"give that cluster a new key, or change the dates", AllowedSignersFile, k.line)
		default:
			return nil
		}
	}
	return reason
}

func (k allowedKey) validAt(t time.Time) bool {
	return (k.after.IsZero() || !t.Before(k.after)) && (k.before.IsZero() || !t.After(k.before))
}

func decodeCommit(content []byte) (*object.Commit, error) {
	o := new(plumbing.MemoryObject)
	o.SetType(plumbing.CommitObject)
	if _, err := o.Write(content); err != nil {
		return nil, err
	}
	c := new(object.Commit)
	err := c.Decode(o)
	return c, err
}
