package render

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"
)

// Labels that every object written to a cluster carries.
const (
	// LabelInstance names the agent that owns the object: the agent's namespace unless told otherwise.
	LabelInstance = "holdfast.dev/instance"
	// LabelApp names the App that declares the object.
	LabelApp = "holdfast.dev/app"
)

// Object is one desired object, ready to be sent: normalised, labelled and encoded once.
// It is immutable; the same Object is shared by the cache, the plan and the request body.
type Object struct {
	// ID is the identity of the object as cli-utils knows it: group, kind, namespace and name.
	// The namespace is the one written in the manifest: only the API server knows the scope of
	// every kind, so apply fills in "default" where it is needed.
	ID object.ObjMetadata
	// Version is the API version within ID's group.
	Version string
	// App is the name of the App that declares the object.
	App string
	// JSON is the canonical form: compact, keys sorted, labels included.
	JSON []byte
	// Hash is the desired hash: hex SHA-256 of JSON, its first 32 digits.
	Hash string
	// Annotations are those that steer reconciliation (holdfast.dev/*, depends-on, on-remove, ...);
	// nil for most objects.
	Annotations map[string]string
}

// GVK returns the object's group, version and kind.
func (o *Object) GVK() schema.GroupVersionKind {
	return o.ID.GroupKind.WithVersion(o.Version)
}

// Unstructured decodes the object. The result is the caller's own.
func (o *Object) Unstructured() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(o.JSON); err != nil { // keeps integers as int64
		return nil, fmt.Errorf("decode %s: %w", Name(o.ID), err)
	}
	return u, nil
}

// Name writes an ID as people read it and as the contract has it: group/Kind/namespace/name,
// without the parts that are empty, as in "apps/Deployment/shop/web" and "Namespace/shop".
func Name(id object.ObjMetadata) string {
	s := id.GroupKind.Kind
	if id.GroupKind.Group != "" {
		s = id.GroupKind.Group + "/" + s
	}
	if id.Namespace != "" {
		s += "/" + id.Namespace
	}
	return s + "/" + id.Name
}
