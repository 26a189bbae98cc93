package vet

// Code names a sort of mistake. Codes are stable: pipelines and suppressions refer to them.
type Code string

// The codes. docs/vet.md says of each what it means, why it matters and how to mend it.
const (
	Unreadable          Code = "unreadable"
	MisplacedFile       Code = "misplaced-file"
	UnknownField        Code = "unknown-field"
	MissingField        Code = "missing-field"
	InvalidValue        Code = "invalid-value"
	NameTaken           Code = "name-taken"
	NoClusters          Code = "no-clusters"
	NotPlaced           Code = "not-placed"
	TooFewClusters      Code = "too-few-clusters"
	UnknownCluster      Code = "unknown-cluster"
	UnknownApp          Code = "unknown-app"
	DependencyNotPlaced Code = "dependency-not-placed"
	DependencyCycle     Code = "dependency-cycle"
	NoOverlay           Code = "no-overlay"
	UnreachableOverlay  Code = "unreachable-overlay"
	UnusedOverlay       Code = "unused-overlay"
	UnusedKustomization Code = "unused-kustomization"
	BuildFailed         Code = "build-failed"
	BuildWarning        Code = "build-warning"
	Replicas            Code = "replicas"
	DuplicateObject     Code = "duplicate-object"
	UnknownObject       Code = "unknown-object"
	UnknownKind         Code = "unknown-kind"
	UncheckedKind       Code = "unchecked-kind"
	UnusedIgnore        Code = "unused-ignore"
	ExpiredPermit       Code = "expired-permit"
	ClearTextSecret     Code = "clear-text-secret" //nolint:gosec // the name of a finding
)

// rule says a code in a sentence.
type rule struct {
	code Code
	// severity is the usual one; unknown-cluster and unknown-app have both.
	severity Severity
	summary  string
}

// codes are all rules, in the order of the documentation.
var codes = []rule{
	{Unreadable, Error, "A fleet file cannot be read, or is not one YAML document."},
	{MisplacedFile, Error, "A fleet file has a name or is a link under which it is not looked for."},
	{UnknownField, Error, "A field that the kind does not have."},
	{MissingField, Error, "A field that the kind must have."},
	{InvalidValue, Error, "A wrong type, or a value that is not allowed."},
	{NameTaken, Error, "Two apps have the same name."},
	{NoClusters, Warning, "The fleet has no cluster, so that nothing is placed or built."},
	{NotPlaced, Error, "An app runs on no cluster."},
	{TooFewClusters, Error, "An app asks for more clusters than are free."},
	{UnknownCluster, Error, "A selector names clusters that the fleet does not have."},
	{UnknownApp, Error, "An app that does not exist is named."},
	{DependencyNotPlaced, Error, "An app runs on a cluster where an app that it depends on does not."},
	{DependencyCycle, Error, "Apps or objects depend on each other in a circle."},
	{NoOverlay, Error, "None of an app's overlays matches a cluster that it may run on."},
	{UnreachableOverlay, Error, "An overlay that no cluster can ever use, since an earlier one matches whatever it matches."},
	{UnusedOverlay, Warning, "An overlay that no cluster of this fleet uses."},
	{UnusedKustomization, Warning, "A kustomization that no app, cluster or other kustomization refers to."},
	{BuildFailed, Error, "An overlay does not build."},
	{BuildWarning, Warning, "An overlay builds, and something about it should be changed."},
	{Replicas, Error, "It is not clear whose replicas are divided over the clusters."},
	{DuplicateObject, Error, "One object is declared more than once on a cluster."},
	{UnknownObject, Error, "An object depends on one that the cluster does not get."},
	{UnknownKind, Error, "A kind that Kubernetes, or the CustomResourceDefinition in this repository, does not serve."},
	{UncheckedKind, Warning, "Objects of a kind that nothing in this repository defines, so that they are not checked."},
	{UnusedIgnore, Warning, "A rule of spec.drift.ignore that matches no object of the app."},
	{ExpiredPermit, Warning, "A permit that has run out, and releases nothing."},
	{ClearTextSecret, Warning, "A Secret whose values are in the repository for everybody to read."},
}

// Docs is where the codes are documented; "#" and a code lead to its paragraph.
const Docs = "https://github.com/holdfast-dev/holdfast/blob/main/docs/vet.md"
