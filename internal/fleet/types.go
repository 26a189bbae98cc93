package fleet

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// APIVersion is the version of the three kinds, all of which are read from Git and never applied.
const APIVersion = "holdfast.dev/v1alpha1"

// Metadata is the part of ObjectMeta that the kinds use.
type Metadata struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Selector selects clusters by their labels, with the full semantics of a Kubernetes label selector.
// The empty selector matches every cluster.
type Selector struct {
	metav1.LabelSelector `json:",inline"`

	compiled labels.Selector // set by decoding, which has checked it
}

// Settings is the kind Fleet: settings for the whole fleet, from fleet.yaml.
type Settings struct {
	Spec SettingsSpec `json:"spec,omitempty"`
	Metadata `json:"metadata"`
}

// SettingsSpec is the spec of the kind Fleet.
type SettingsSpec struct {
	// Drain moves every app off the matching clusters.
	Drain []Drain `json:"drain,omitempty"`
	// Freeze stops the adoption of new content on the matching clusters.
	Freeze []Freeze `json:"freeze,omitempty"`
	// Prune limits what one commit may delete.
	Prune Prune `json:"prune,omitempty"`
	// AcceptHistory acknowledges a rewritten branch at that commit.
	AcceptHistory string `json:"acceptHistory,omitempty"`
}

// Drain is one line of Fleet.spec.drain.
type Drain struct {
	ClusterSelector Selector `json:"clusterSelector"`
	Reason          string   `json:"reason,omitempty"`
	// Force does not wait for takeover.
	Force bool `json:"force,omitempty"`
}

// Freeze is one line of Fleet.spec.freeze.
type Freeze struct {
	ClusterSelector Selector `json:"clusterSelector"`
	Reason          string   `json:"reason,omitempty"`
}

// Prune is the brake on deletions.
type Prune struct {
	// MaxPercent of this cluster's objects may be deleted by one commit (default 30).
	MaxPercent *int `json:"maxPercent,omitempty"`
	// MinObjects is the number of deletions below which MaxPercent does not count (default 10).
	MinObjects *int `json:"minObjects,omitempty"`
	// Permit releases held prunes and protected kinds until a date.
	Permit []Permit `json:"permit,omitempty"`
}

// Permit allows deletions of one app, of some kinds, until a date.
type Permit struct {
	App   string   `json:"app"`
	Kinds []string `json:"kinds,omitempty"` // empty: every kind but the protected ones
	Until Date     `json:"until"`
}

// Date is a day (2026-12-01: through its end, UTC) or an RFC 3339 time. It is the last moment included.
type Date struct{ time.Time }

// State is what a cluster may be used for.
type State string

// The states of a cluster.
const (
	Active  State = "Active"
	Drained State = "Drained"
	Lost    State = "Lost"
)

// Cluster is the kind Cluster, from clusters/<name>/cluster.yaml.
type Cluster struct {
	Metadata `json:"metadata"`
	Spec     ClusterSpec `json:"spec,omitempty"`
}

// ClusterSpec is the spec of the kind Cluster.
type ClusterSpec struct {
	State  State             `json:"state,omitempty"`  // default Active
	Weight *int32            `json:"weight,omitempty"` // share of divided replicas, default 1
	Vars   map[string]string `json:"vars,omitempty"`
}

// App is the kind App, from apps/**/app.yaml, or the implicit App of a cluster's own folder.
type App struct {
	Metadata `json:"metadata"`
	Spec     AppSpec `json:"spec,omitempty"`
	// Dir is the app's folder, slash-separated, relative to the fleet root.
	Dir string `json:"-"`
	// Implicit is set on cluster-<name>, the App that clusters/<name>/kustomization.yaml makes.
	Implicit bool `json:"-"`
}

// AppSpec is the spec of the kind App.
type AppSpec struct {
	Suspend    bool        `json:"suspend,omitempty"`
	Placement  Placement   `json:"placement,omitempty"`
	Overlays   []Overlay   `json:"overlays,omitempty"`
	AllowEmpty bool        `json:"allowEmpty,omitempty"`
	Namespace  string      `json:"namespace,omitempty"`
	Substitute bool        `json:"substitute,omitempty"`
	Replicas   *Replicas   `json:"replicas,omitempty"`
	DependsOn  []string    `json:"dependsOn,omitempty"`
	Rollout    Rollout     `json:"rollout,omitempty"`
	Failover   Failover    `json:"failover,omitempty"`
	Health     Health      `json:"health,omitempty"`
	Drift      DriftPolicy `json:"drift,omitempty"`
}

// Placement says where an app goes.
type Placement struct {
	ClusterSelector Selector   `json:"clusterSelector,omitempty"`
	Clusters        *int       `json:"clusters,omitempty"`
	SpreadBy        string     `json:"spreadBy,omitempty"`
	Prefer          []Selector `json:"prefer,omitempty"`
}

// Overlay is a kustomization and the clusters that use it; the first that matches wins.
type Overlay struct {
	ClusterSelector Selector `json:"clusterSelector,omitempty"`
	Path            string   `json:"path"`
}

// Replicas are divided over the placed clusters by weight.
type Replicas struct {
	Total  int32   `json:"total"`
	Target *Target `json:"target,omitempty"`
}

// Target names the workload whose replicas are divided.
type Target struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Rollout orders the clusters that adopt new content.
type Rollout struct {
	Waves       []Wave `json:"waves,omitempty"`
	MaxFailures int    `json:"maxFailures,omitempty"`
}

// Wave is one group of clusters.
type Wave struct {
	ClusterSelector Selector `json:"clusterSelector,omitempty"`
	Soak            Duration `json:"soak,omitempty"`
}

// Gate is how an app leaves a cluster.
type Gate string

// The failover gates.
const (
	TakeoverHealthy Gate = "TakeoverHealthy"
	Exclusive       Gate = "Exclusive"
	NoGate          Gate = "None"
)

// Failover says what an app waits for before it leaves a cluster.
type Failover struct {
	Gate Gate     `json:"gate,omitempty"` // default TakeoverHealthy
	Soak Duration `json:"soak,omitempty"`
}

// Health bounds how long an app may take to become Ready before it counts as stalled.
type Health struct {
	Timeout Duration `json:"timeout,omitempty"` // default 5m
}

// DriftMode says what is done about drift.
type DriftMode string

// The drift modes.
const (
	Correct DriftMode = "Correct"
	Strict  DriftMode = "Strict"
	Detect  DriftMode = "Detect"
)

// DriftPolicy says what is done about drift, and which fields are left to others.
type DriftPolicy struct {
	Mode   DriftMode     `json:"mode,omitempty"` // default Correct
	Ignore []DriftIgnore `json:"ignore,omitempty"`
}

// DriftIgnore names fields that are left to others once another manager owns them.
type DriftIgnore struct {
	Group     string   `json:"group,omitempty"`
	Kind      string   `json:"kind,omitempty"`      // empty: any
	Namespace string   `json:"namespace,omitempty"` // empty: any
	Name      string   `json:"name,omitempty"`      // empty: any
	Fields    []string `json:"fields"`              // JSON pointers (RFC 6901)
}

// Duration is a Go duration such as 90s or 5m.
type Duration struct{ time.Duration }
