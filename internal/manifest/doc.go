// Package manifest judges a manifest as the API server of a cluster would, without one.
//
// Kubernetes is the schemas of the built-in kinds, of one version of Kubernetes (Kubernetes.Version). They are taken
// from /openapi/v3 of a real API server, reduced to what can be broken, and embedded compressed; nothing
// of them is in memory before Load is called. A Definition is the same for a custom resource: it is made of a
// CustomResourceDefinition.
//
// Kind.Check returns what is wrong with one object, all of it and not the first:
//
//   - a field that the kind does not have, with the field that was probably meant;
//   - a field that the kind must have;
//   - a wrong type, a value outside of an enumeration, a bad quantity, number, date or base64;
//   - of custom resources also pattern, minimum, maxLength, oneOf and all else that a structural schema may
//     say;
//   - two entries of a list that have the same key, which server-side apply refuses;
//   - beyond schemas: names and labels that are none, a selector that does not select its own pods, a
//     mount of a volume that is not there.
//
// The structure is walked by code of this package, since Kubernetes' schemas do not say which fields
// are unknown, and since the walk knows the path and what else could have been meant. Values are judged by
// kube-openapi's validator, which the API server itself uses for custom resources.
//
// # What is not judged
//
// The API server knows more: rules in its code, CEL rules of custom resources, defaults, admission, quotas, and
// what is in the cluster. So an object without a fault here may still be refused, and one that has a fault is
// refused: a test holds the second against a real API server, by breaking good manifests of every sort in
// every field. What OpenAPI calls required and the API server does not ask for is left out when the schemas are
// taken.
package manifest
