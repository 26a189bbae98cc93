package localcluster

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// KubeconfigFor returns the path of a new kubeconfig for another user, with a client
// certificate that names the user and the groups. What that user may do is up to RBAC.
func (c *Cluster) KubeconfigFor(user string, groups ...string) (string, error) {
	pair, err := c.ca.client(user, groups...)
	if err != nil {
		return "", fmt.Errorf("make a kubeconfig for %q: %w", user, err)
	}
	return c.addKubeconfig(user, certificateUser(pair))
}

// addKubeconfig writes a kubeconfig under a name that is derived from the user and not yet taken.
func (c *Cluster) addKubeconfig(user, credentials string) (string, error) {
	c.mu.Lock()
	c.kubeconfigs++
	n := c.kubeconfigs
	c.mu.Unlock()
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(user))
	path := filepath.Join(c.dir, "users", fmt.Sprintf("%03d-%.40s.kubeconfig", n, safe))
	return path, c.writeKubeconfig(path, user, credentials)
}

func certificateUser(pair keyPair) string {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("    client-certificate-data: %s\n    client-key-data: %s\n", encode(pair.cert), encode(pair.key))
}

// writeKubeconfig writes path, for its owner only. credentials are the lines of the user's entry.
func (c *Cluster) writeKubeconfig(path, user, credentials string) error {
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[4]q
users:
- name: %[4]q
  user:
%[5]s`, c.name, c.URL(), base64.StdEncoding.EncodeToString(c.ca.pem), user, credentials)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of the kubeconfig for %q: %w", user, err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig for %q: %w", user, err)
	}
	return nil
}
