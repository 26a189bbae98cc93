package kube

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// immutable is how the validations of the API server word that a field cannot be changed. There is
// no code for it: the same status says that a value is wrong.
var immutable = []string{
	"field is immutable",
	"is immutable",
	"may not change once set",
	"may not be changed in an update",
	"cannot change roleref",
	"updates to statefulset spec for fields other than",
	"pod updates may not change fields other than",
	"updates to provisioner are forbidden",
	"updates to parameters are forbidden",
	"updates to reclaimpolicy are forbidden",
	"updates to volumebindingmode are forbidden",
}

// IsImmutable reports whether the server refused an update for nothing but fields that cannot be
// changed, so that deleting and creating the object anew would help. An object that is also wrong
// in another way is not: its replacement would be refused, and the live one would be gone.
func IsImmutable(err error) bool {
	if !apierrors.IsInvalid(err) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	s := status.Status()
	if s.Details == nil || len(s.Details.Causes) == 0 {
		return saysImmutable(s.Message)
	}
	for _, c := range s.Details.Causes {
		if !saysImmutable(c.Message) {
			return false
		}
	}
	return true
}

func saysImmutable(message string) bool {
	message = strings.ToLower(message)
	for _, words := range immutable {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// Conflict is a field that another manager owns, so that an apply without force was refused.
type Conflict struct {
	// Manager owns the field.
	Manager string
	// Field is its path, as in ".spec.replicas".
	Field string
}

// Conflicts lists what an apply without force collided with; none for any other error.
func Conflicts(err error) []Conflict {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var out []Conflict
	for _, c := range status.Status().Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		manager := c.Message
		// The cause's message is: conflict with "manager" using apps/v1 at <time>
		if _, rest, ok := strings.Cut(manager, `"`); ok {
			manager, _, _ = strings.Cut(rest, `"`)
		}
		out = append(out, Conflict{Manager: manager, Field: c.Field})
	}
	return out
}

// join writes conflicts by manager, in the order in which the server told them.
func join(conflicts []Conflict) string {
	var managers []string
	fields := map[string][]string{}
	for _, c := range conflicts {
		if _, ok := fields[c.Manager]; !ok {
			managers = append(managers, c.Manager)
		}
		fields[c.Manager] = append(fields[c.Manager], c.Field)
	}
	parts := make([]string, 0, len(managers))
	for _, m := range managers {
		parts = append(parts, m+" ("+strings.Join(fields[m], ", ")+")")
	}
	return strings.Join(parts, "; ")
}
