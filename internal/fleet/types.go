package fleet

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIVersion is the version of the three kinds, all of which are read from Git and never applied.
const APIVersion = "holdfast.dev/v1alpha1"

// The names of the three kinds, as they stand in a file's `kind` and in a Problem.
const (
	KindFleet   = "Fleet"
	KindCluster = "Cluster"
	KindApp     = "App"
)

// TypeMeta says which kind a file holds.
type TypeMeta struct {
	// APIVersion is always holdfast.dev/v1alpha1, the only version so far.
	APIVersion string `json:"apiVersion"`
	// Kind is the kind of the file: Fleet, Cluster or App.
	Kind string `json:"kind"`
}

// Metadata is the part of ObjectMeta that the kinds use.
type Metadata struct {
	// Name is a DNS label: lower-case letters, digits and dashes, at most 63 characters (a cluster: 55).
	Name string `json:"name" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Labels are ordinary Kubernetes labels. Those of a cluster are what selectors select by.
	Labels map[string]string `json:"labels,omitempty"`
}

// Selector selects clusters by their labels, with the full semantics of a Kubernetes label selector.
// The empty selector matches every cluster.
type Selector struct {
	metav1.LabelSelector `json:",inline"`
}

// Settings is the kind Fleet: settings for the whole fleet, from fleet.yaml.
type Settings struct {
	TypeMeta `json:",inline"`
	Metadata `json:"metadata"`
	// Spec holds the settings.
	Spec SettingsSpec `json:"spec,omitzero"`
}

// SettingsSpec is the spec of the kind Fleet.
type SettingsSpec struct {
	// Drain moves every app off the matching clusters.
	Drain []Drain `json:"drain,omitempty"`
	// Freeze stops the adoption of new content on the matching clusters; healing and placement go on.
	Freeze []Freeze `json:"freeze,omitempty"`
	// Prune limits what one commit may delete.
	Prune Prune `json:"prune,omitzero"`
	// AcceptHistory acknowledges a rewritten branch at that commit: a full Git object id.
	AcceptHistory string `json:"acceptHistory,omitempty" jsonschema:"pattern=^([0-9a-f]{40}|[0-9a-f]{64})$"`
}

// Drain is one line of Fleet.spec.drain.
type Drain struct {
	// ClusterSelector selects the clusters to drain; {} is every cluster.
	ClusterSelector Selector `json:"clusterSelector"`
	// Reason is for people.
	Reason string `json:"reason,omitempty"`
	// Force does not wait for takeover: for a region that is burning.
	Force bool `json:"force,omitempty"`
}

// Freeze is one line of Fleet.spec.freeze.
type Freeze struct {
	// ClusterSelector selects the clusters to freeze; {} is every cluster.
	ClusterSelector Selector `json:"clusterSelector"`
	// Reason is for people.
	Reason string `json:"reason,omitempty"`
}

// Prune is the brake on deletions.
type Prune struct {
	// MaxPercent of this cluster's objects may be deleted by one commit (default 30).
	MaxPercent *int `json:"maxPercent,omitempty" jsonschema:"minimum=0,maximum=100,default=30"`
	// MinObjects is the number of deletions below which MaxPercent does not count (default 10).
	MinObjects *int `json:"minObjects,omitempty" jsonschema:"minimum=0,default=10"`
	// Permit releases held prunes and protected kinds until a date.
	Permit []Permit `json:"permit,omitempty"`
}

// Permit allows deletions of one app, of some kinds, until a date.
type Permit struct {
	// App is the name of the app whose objects may be deleted. It need not exist any more.
	App string `json:"app" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Kinds that may be deleted. None: every kind but the protected ones.
	Kinds []string `json:"kinds,omitempty"`
	// Until is the last day (2026-12-01, to its end in UTC) or the last moment (RFC 3339) of the permit.
	Until Date `json:"until"`
}

// State is what a cluster may be used for.
type State string

// The states of a cluster.
const (
	Active  State = "Active"  // it runs what is placed on it
	Drained State = "Drained" // it gets nothing
	Lost    State = "Lost"    // it gets nothing, and a person says that it is dead: others do not wait for it
)

// Cluster is the kind Cluster, from clusters/<name>/cluster.yaml.
type Cluster struct {
	TypeMeta `json:",inline"`
	Metadata `json:"metadata"`
	// Spec describes the cluster.
	Spec ClusterSpec `json:"spec,omitzero"`
}

// ClusterSpec is the spec of the kind Cluster.
type ClusterSpec struct {
	// State is Active (default), Drained, or Lost: a person says that the cluster is dead, and others take over without it.
	State State `json:"state,omitempty" jsonschema:"default=Active"`
	// Weight is the cluster's share of divided replicas and of apps that run on some clusters only (default 1).
	Weight *int32 `json:"weight,omitempty" jsonschema:"minimum=1,default=1"`
	// Vars are this cluster's variables for manifests. A name is letters, digits and underscores.
	Vars map[string]string `json:"vars,omitempty"`
}

// App is the kind App, from apps/**/app.yaml, or the implicit App of a cluster's own folder.
type App struct {
	TypeMeta `json:",inline"`
	Metadata `json:"metadata"`
	// Spec says where the app goes, which overlay it uses and how it rolls out.
	Spec AppSpec `json:"spec,omitzero"`
	// Dir is the app's folder, slash-separated, relative to the fleet root.
	Dir string `json:"-"`
	// Implicit is set on cluster-<name>, the App that clusters/<name>/kustomization.yaml makes.
	Implicit bool `json:"-"`
}

// AppSpec is the spec of the kind App.
type AppSpec struct {
	// Suspend stops everything: nothing of the app is written or healed.
	Suspend bool `json:"suspend,omitempty"`
	// Placement says on which clusters the app runs (default: every Active cluster).
	Placement Placement `json:"placement,omitzero"`
	// Overlays are tried in order; the first whose selector matches the cluster is built.
	// None matches: an error. No overlays: the app's own folder is built.
	Overlays []Overlay `json:"overlays,omitempty"`
	// AllowEmpty accepts an overlay that renders no objects, which is an error otherwise.
	AllowEmpty bool `json:"allowEmpty,omitempty"`
	// Namespace of every namespaced object, as kustomize's namespace. It is not created.
	Namespace string `json:"namespace,omitempty" jsonschema:"pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Substitute replaces ${CLUSTER_NAME}, ${CLUSTER_LABEL_<KEY>} and ${<var>} in the manifests. Undefined: an error. $${x} is ${x}.
	Substitute bool `json:"substitute,omitempty"`
	// Replicas are divided over the clusters on which the app is placed.
	Replicas *Replicas `json:"replicas,omitempty"`
	// DependsOn names apps that must be Ready in the cluster before new content of this one is adopted.
	DependsOn []string `json:"dependsOn,omitempty"`
	// Rollout orders the clusters that adopt new content.
	Rollout Rollout `json:"rollout,omitzero"`
	// Failover says what the app waits for before it leaves a cluster.
	Failover Failover `json:"failover,omitzero"`
	// Health bounds how long the app may take to become Ready.
	Health Health `json:"health,omitzero"`
	// Drift says what is done when somebody else changes an object.
	Drift DriftPolicy `json:"drift,omitzero"`
}

// Placement says where an app goes.
type Placement struct {
	// ClusterSelector selects the clusters that may run the app (default: every cluster).
	ClusterSelector Selector `json:"clusterSelector,omitzero"`
	// Clusters is on how many of them it runs (default: all).
	Clusters *int `json:"clusters,omitempty" jsonschema:"minimum=1"`
	// SpreadBy is a label key: no two clusters with the same value while others are free.
	SpreadBy string `json:"spreadBy,omitempty"`
	// Prefer lists selectors in order of preference, used with clusters.
	Prefer []Selector `json:"prefer,omitempty"`
}

// Overlay is a kustomization and the clusters that use it; the first that matches wins.
type Overlay struct {
	// ClusterSelector selects the clusters that use this overlay (default: every cluster).
	ClusterSelector Selector `json:"clusterSelector,omitzero"`
	// Path of the kustomization's folder, relative to the app's folder. It may leave that, but not the repository.
	Path string `json:"path" jsonschema:"minLength=1"`
}

// Replicas are divided over the placed clusters by weight.
type Replicas struct {
	// Total number over all clusters.
	Total int32 `json:"total" jsonschema:"minimum=0"`
	// Target is the workload (default: the app's only Deployment or StatefulSet).
	Target *Target `json:"target,omitempty"`
}

// Target names the workload whose replicas are divided.
type Target struct {
	// Kind of the workload.
	Kind string `json:"kind"`
	// Name of the workload.
	Name string `json:"name"`
}

// Rollout orders the clusters that adopt new content.
type Rollout struct {
	// Waves are groups of clusters; each adopts what all earlier ones have proven. Clusters in none come last.
	Waves []Wave `json:"waves,omitempty"`
	// MaxFailures is how many clusters of earlier waves may fail; at least one must succeed (default 0).
	MaxFailures int `json:"maxFailures,omitempty" jsonschema:"minimum=0,default=0"`
}

// Wave is one group of clusters.
type Wave struct {
	// ClusterSelector selects the wave's clusters (default: every cluster that is in no earlier wave).
	ClusterSelector Selector `json:"clusterSelector,omitzero"`
	// Soak is how long the app must stay Ready before the next wave.
	Soak Duration `json:"soak,omitzero"`
}

// Gate is how an app leaves a cluster.
type Gate string

// The failover gates.
const (
	TakeoverHealthy Gate = "TakeoverHealthy" // leave when the others have taken over and are Ready
	Exclusive       Gate = "Exclusive"       // at most one cluster: stop first, start after
	NoGate          Gate = "None"            // leave at once
)

// Failover says what an app waits for before it leaves a cluster.
type Failover struct {
	// Gate is TakeoverHealthy (default), Exclusive (at most one cluster runs the app at any time) or None.
	Gate Gate `json:"gate,omitempty" jsonschema:"default=TakeoverHealthy"`
	// Soak is how long the others must have been Ready (default 30s).
	Soak *Duration `json:"soak,omitempty"`
}

// Health bounds how long an app may take to become Ready before it counts as stalled.
type Health struct {
	// Timeout after which an app that is not Ready counts as stalled (default 5m).
	Timeout Duration `json:"timeout,omitzero"`
}

// DriftMode says what is done about drift.
type DriftMode string

// The drift modes.
const (
	Correct DriftMode = "Correct" // fields that Git sets are put back
	Strict  DriftMode = "Strict"  // fields that people added are removed too
	Detect  DriftMode = "Detect"  // reported, not touched
)

// DriftPolicy says what is done about drift, and which fields are left to others.
type DriftPolicy struct {
	// Mode is Correct (default: put fields back), Strict (also remove fields that people added) or Detect (report only).
	Mode DriftMode `json:"mode,omitempty" jsonschema:"default=Correct"`
	// Ignore lists fields that are left alone once another manager owns them.
	Ignore []DriftIgnore `json:"ignore,omitempty"`
}

// DriftIgnore names fields that are left to others once another manager owns them.
type DriftIgnore struct {
	// Group of the object (default: any).
	Group string `json:"group,omitempty"`
	// Kind of the object (default: any).
	Kind string `json:"kind,omitempty"`
	// Namespace of the object (default: any).
	Namespace string `json:"namespace,omitempty"`
	// Name of the object (default: any).
	Name string `json:"name,omitempty"`
	// Fields are JSON pointers (RFC 6901), such as /spec/replicas.
	Fields []string `json:"fields" jsonschema:"minItems=1"`
}
