package kube

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Explain says what an error of the API server, or of the way there, means and what can be done
// about it. It keeps what the server said where that is the best there is, less the values of a
// Secret. Nil gives "".
func Explain(err error) string {
	if err == nil {
		return ""
	}
	var noKind *meta.NoKindMatchError
	if errors.As(err, &noKind) {
		return noMatch(noKind)
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return explainStatus(err, status.Status())
	}
	return explainTransport(err)
}

// IsVerdict tells an answer about what was asked for (forbidden, not served, not found) from a server that cannot answer at
// the moment, or that was not reached.
func IsVerdict(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < 500 && !apierrors.IsTooManyRequests(err) && !apierrors.IsTimeout(err)
}

func noMatch(err *meta.NoKindMatchError) string {
	version := err.GroupKind.Group
	if len(err.SearchedVersions) == 1 {
		version = strings.TrimPrefix(version+"/"+err.SearchedVersions[0], "/")
	}
	if version == "" {
		return fmt.Sprintf("the cluster has no kind %s", err.GroupKind.Kind)
	}
	return fmt.Sprintf("the cluster has no kind %s in %s: its CustomResourceDefinition is not installed, or serves another version",
		err.GroupKind.Kind, version)
}

func explainStatus(err error, s metav1.Status) string {
	text := mask(s)
	switch {
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept our credentials: the token or certificate has expired or was revoked"
	case apierrors.IsForbidden(err):
		return forbidden(text)
	case apierrors.IsTooManyRequests(err):
		if wait, ok := apierrors.SuggestsClientDelay(err); ok {
			return fmt.Sprintf("the API server is overloaded and asks to wait %d s: %s", wait, text)
		}
		return "the API server is overloaded: " + text
	case apierrors.IsRequestEntityTooLargeError(err), strings.Contains(s.Message, "etcdserver: request is too large"),
		strings.Contains(s.Message, "grpc: trying to send message larger than max"):
		return "the object is larger than the API server stores (about 1.5 MB): split it, or drop large annotations"
	case strings.Contains(s.Message, "failed calling webhook"):
		return "an admission webhook cannot be reached, and it is set to fail: " + text
	case strings.Contains(s.Message, "denied the request"):
		return text // names the webhook or policy and its reason
	case IsImmutable(err):
		return "a field is immutable: " + text + "; annotate the object with holdfast.dev/replace: enabled to have it deleted and created anew"
	case apierrors.IsConflict(err) && len(Conflicts(err)) > 0:
		return "other field managers own what we declare: " + join(Conflicts(err))
	case s.Code >= 500 && s.Code != 504:
		return fmt.Sprintf("the API server answers %d: %s", s.Code, text)
	}
	return text
}

// refused is how the server's authorizer words a refusal.
var refused = regexp.MustCompile(`User "([^"]*)" cannot (\S+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)"| at the cluster scope)?`)

// forbidden turns the server's refusal into the rule that is missing. Admission refuses with the
// same status (quota, Pod security, a namespace that is going away); its words are kept.
func forbidden(text string) string {
	m := refused.FindStringSubmatch(text)
	if m == nil {
		if strings.Contains(text, "attempting to grant RBAC permissions not currently held") {
			return text + "; the agent may only grant what it holds itself, or needs the verbs bind and escalate"
		}
		return text
	}
	user, verb, resource, group, namespace := m[1], m[2], m[3], m[4], m[5]
	what := resource
	if group != "" {
		what += "." + group
	}
	where, kind := "", "ClusterRole"
	if namespace != "" {
		where, kind = fmt.Sprintf(" in namespace %s", namespace), "Role or ClusterRole"
	}
	return fmt.Sprintf("%s may not %s %s%s: its %s lacks {apiGroups: [%q], resources: [%q], verbs: [%q]}",
		user, verb, what, where, kind, group, resource, verb)
}

// secretValue matches where the server quotes what was sent.
var (
	secretValue = regexp.MustCompile(`(?s)Invalid value: .*`)
	typedValue  = regexp.MustCompile(`(?s)value\.valueUnstructured\{Value:.*\}|got &value\.valueUnstructured.*`)
)

// mask is the server's message without the values of a Secret. A message about the type of a value
// quotes it for any kind, without saying of what kind it is, so the quote goes always.
func mask(s metav1.Status) string {
	text := typedValue.ReplaceAllString(s.Message, "got a value of another type")
	if s.Details != nil && (strings.EqualFold(s.Details.Kind, "secret") || strings.EqualFold(s.Details.Kind, "secrets")) {
		text = secretValue.ReplaceAllString(text, "Invalid value: (not shown)")
	}
	return text
}

func explainTransport(err error) string {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var expired x509.CertificateInvalidError
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the API server does not listen (connection refused): it is down, or the address is wrong"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection to the API server was cut: " + err.Error()
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to the API server: " + err.Error()
	case errors.As(err, &dns):
		return fmt.Sprintf("the name of the API server does not resolve: %s", dns.Name)
	case errors.As(err, &authority):
		return "the API server's certificate is signed by an authority that we do not know: check certificate-authority in the kubeconfig"
	case errors.As(err, &host):
		return "the API server's certificate is for another name: " + host.Error()
	case errors.As(err, &expired):
		return "the API server's certificate is not valid: " + expired.Error()
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the API server did not answer in time"
	}
	return err.Error()
}
