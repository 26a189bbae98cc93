package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// ErrSuperseded is the error of a task that was cancelled because a newer commit wants something else.
var ErrSuperseded = errors.New("superseded by a newer commit")

// ErrScope is returned for an object without a namespace whose kind turned out to need one: the
// desired state has to be resolved again.
var ErrScope = errors.New("the scope of this kind has become known only now")

// ConflictError says that an object is somebody else's.
type ConflictError struct {
	// Owner is who owns it, in words.
	Owner string
}

func (e *ConflictError) Error() string {
	return "not ours to write: " + e.Owner
}

// NoMatchError says that the API server does not serve the kind (yet).
type NoMatchError struct{ Kind schema.GroupKind }

func (e *NoMatchError) Error() string {
	return fmt.Sprintf("the API server does not serve the kind %s; is its CustomResourceDefinition or its API service installed?", e.Kind)
}

// UnavailableError says that the API server could not be reached or did not accept who we are:
// no object's fault.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return e.Err.Error() }
func (e *UnavailableError) Unwrap() error { return e.Err }

// classify turns an error of a request into one that Engine can act upon.
func classify(err error, gk schema.GroupKind) error {
	var netErr net.Error
	var urlErr *url.Error
	switch {
	case err == nil:
		return nil
	case meta.IsNoMatchError(err):
		return &NoMatchError{Kind: gk}
	case apierrors.IsUnauthorized(err):
		return &UnavailableError{Err: fmt.Errorf("the API server does not accept the agent's credentials: %w", err)}
	case utilnet.IsConnectionRefused(err), utilnet.IsConnectionReset(err), utilnet.IsProbableEOF(err),
		errors.As(err, &netErr), errors.As(err, &urlErr):
		if errors.Is(err, context.Canceled) {
			return err
		}
		return &UnavailableError{Err: fmt.Errorf("the API server cannot be reached: %w", err)}
	}
	return err
}
