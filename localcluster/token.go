package localcluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"
)

// issuer is who service account tokens are from, and for.
const issuer = "https://kubernetes.default.svc.cluster.local"

// leeway is how long the API server accepts a token past its expiry, for the sake of clocks that differ.
const leeway = time.Minute

// ServiceAccountToken returns a token of an existing ServiceAccount, signed with the cluster's key as the
// API server would, that the API server refuses after ttl. Unlike the API server it has no lower
// bound: a ttl of seconds, or a negative one for a token that has expired, is for tests of just that.
// The token ends, too, when the ServiceAccount is deleted. The API server remembers
// for up to ten seconds that it has accepted a token; a restart makes it forget.
func (c *Cluster) ServiceAccountToken(ctx context.Context, namespace, name string, ttl time.Duration) (string, error) {
	var account struct {
		Metadata struct{ UID string }
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/serviceaccounts/%s", url.PathEscape(namespace), url.PathEscape(name))
	if err := c.request(ctx, http.MethodGet, path, nil, &account); err != nil {
		return "", fmt.Errorf("make a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	expires := time.Now().Add(ttl - leeway)
	issued := time.Now().Add(-2 * leeway)
	if expires.Before(issued) {
		issued = expires.Add(-leeway) // it must have been valid once
	}
	token, err := signToken(c.accountKey, map[string]any{
		"iss": issuer, "aud": []string{issuer},
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": expires.Unix(),
		"sub": "system:serviceaccount:" + namespace + ":" + name,
		"kubernetes.io": map[string]any{
			"namespace":      namespace,
			"serviceaccount": map[string]string{"name": name, "uid": account.Metadata.UID},
		},
	})
	if err != nil {
		return "", fmt.Errorf("make a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return token, nil
}

// TokenKubeconfig returns the path of a new kubeconfig whose user is whoever the token in tokenFile
// says. The file need not exist yet and may be replaced at any time, as a kubelet does.
func (c *Cluster) TokenKubeconfig(tokenFile string) (string, error) {
	tokenFile, err := filepath.Abs(tokenFile)
	if err != nil {
		return "", fmt.Errorf("make a kubeconfig for a token: %w", err)
	}
	return c.addKubeconfig("token", fmt.Sprintf("    tokenFile: %q\n", tokenFile))
}

// signToken returns a JSON Web Token (RFC 7519) signed with ES256 (RFC 7518, section 3.4).
func signToken(key *ecdsa.PrivateKey, claims map[string]any) (string, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode the claims: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(body)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign the claims: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature), nil
}
