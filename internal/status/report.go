package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// APIVersion is the version of Report and of AppStatus.
const APIVersion = "holdfast.dev/v1alpha1"

// Report is what one cluster says about itself: the answer of GET /api/v1/status, status.json on the
// status bus, and an element of `holdfast status -o json`. Times are RFC 3339 in UTC, to the second.
type Report struct {
	APIVersion string `json:"apiVersion"`
	// Cluster is the name of the reporting cluster; Labels are its labels in Git.
	Cluster string            `json:"cluster"`
	Labels  map[string]string `json:"labels"`
	// Agent is the version of the agent.
	Agent string `json:"agent"`
	// Time is when the report was made, by the reporter's clock.
	Time time.Time `json:"time"`
	// Commit is the newest verified commit that the agent has seen, empty before the first.
	Commit string `json:"commit"`
	// Fetched is when the repository last answered; null before the first answer.
	Fetched *time.Time `json:"fetched"`
	// Apps are sorted by name.
	Apps []App `json:"apps"`
}

// App is the part of a Report about one app.
type App struct {
	Name string `json:"name"`
	// Revision is the adopted commit.
	Revision string `json:"revision"`
	// Placement is the commit whose placement is enforced.
	Placement string `json:"placement"`
	// Proven is the last revision that soaked here.
	Proven string `json:"proven"`
	// Content is the hash of the rendered objects before replica division.
	Content string `json:"content"`
	Ready   bool   `json:"ready"`
	// Since is the start of uninterrupted Ready at this content; null if not Ready.
	Since *time.Time `json:"since"`
	// Replicas are those of the workload by which the app's replicas are divided over clusters, or else of all its
	// Deployments and StatefulSets.
	Replicas Replicas `json:"replicas"`
	// Objects is how many objects of the app are here or still to be deleted, known to be wanted or not, without those
	// that stay until a permit. With no object and no replica, nothing of the app is left running.
	Objects int           `json:"objects"`
	Drift   Drift         `json:"drift"`
	Held    []Held        `json:"held"`
	Errors  []ObjectError `json:"errors"`
}

// Here tells whether the app is on the cluster, or should be: one that has failed or is held before it was ever adopted
// should. An app that runs elsewhere may be reported so that others know that it does not run here.
func (a *App) Here() bool {
	return a.Revision != "" || a.Objects > 0 || a.Replicas != (Replicas{}) || len(a.Errors) > 0 || len(a.Held) > 0
}

// Replicas are the replicas of an app on this cluster.
type Replicas struct {
	Desired int32 `json:"desired"`
	Ready   int32 `json:"ready"`
}

// UnmarshalJSON insists on both numbers, as Decode does on what else says that nothing of the app is left here.
func (r *Replicas) UnmarshalJSON(data []byte) error {
	var wire struct {
		Desired *int32 `json:"desired"`
		Ready   *int32 `json:"ready"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	if wire.Desired == nil || wire.Ready == nil {
		return errors.New("replicas: desired and ready are required")
	}
	r.Desired, r.Ready = *wire.Desired, *wire.Ready
	return nil
}

// Drift counts the corrections of an app's objects since the app came to this cluster.
type Drift struct {
	Corrected int64 `json:"corrected"`
	// Last is when an object was last corrected; null if never.
	Last *time.Time `json:"last"`
}

// Gate names what can hold an app.
type Gate string

// The gates. A reader must expect others, of newer agents.
const (
	GateTakeoverHealthy Gate = "TakeoverHealthy"
	GateExclusive       Gate = "Exclusive"
	GateWave            Gate = "Wave"
	GateDependsOn       Gate = "DependsOn"
	GateFreeze          Gate = "Freeze"
	GatePrune           Gate = "Prune"
)

// Held is a gate that holds an app.
type Held struct {
	Gate   Gate      `json:"gate"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// ObjectError is one object's error.
type ObjectError struct {
	// Object is group/Kind/namespace/name without the parts that are empty; empty for an error of the whole app.
	Object  string `json:"object"`
	Message string `json:"message"`
}

// Reporter is the part of a Report that is not about apps.
type Reporter struct {
	Cluster string
	Labels  map[string]string
	// Agent is the agent's version.
	Agent string
	// Commit is the newest verified commit seen.
	Commit string
	// Fetched is when the repository last answered; zero if never.
	Fetched time.Time
}

// NewReport makes the report of a cluster from the states of its apps at the time now. Nothing of
// the result is shared with the arguments but strings and label maps.
func NewReport(r Reporter, apps map[string]AppState, now time.Time) Report {
	out := Report{
		APIVersion: APIVersion,
		Cluster:    r.Cluster,
		Labels:     r.Labels,
		Agent:      r.Agent,
		Time:       utc(now),
		Commit:     r.Commit,
		Fetched:    utcOrNil(r.Fetched),
		Apps:       make([]App, 0, len(apps)),
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	for name := range apps {
		state := apps[name]
		out.Apps = append(out.Apps, state.report(name))
	}
	slices.SortFunc(out.Apps, func(a, b App) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// report returns the app's part of a Report: lists are empty rather than null.
func (s *AppState) report(name string) App {
	app := App{
		Name:      name,
		Revision:  s.Revision,
		Placement: s.Placement,
		Proven:    s.Proven,
		Content:   s.Content,
		Ready:     s.Ready,
		Replicas:  s.Replicas,
		Objects:   s.Objects,
		Drift:     s.Drift.normal(),
		Held:      make([]Held, len(s.Held)),
		Errors:    make([]ObjectError, len(s.Errors)),
	}
	if s.Ready {
		app.Since = utcOrNil(s.Since)
	}
	copy(app.Errors, s.Errors)
	for i, h := range s.Held {
		h.Since = utc(h.Since)
		app.Held[i] = h
	}
	return app
}

func (d Drift) normal() Drift {
	if d.Last != nil {
		d.Last = utcOrNil(*d.Last)
	}
	return d
}

// utc gives times one form, so that two reports of the same state are the same bytes.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func utcOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = utc(t)
	return &t
}

// Validate reports what makes a report of another cluster unusable. Contents that this agent does not
// know, such as new gates, are no fault.
func (r *Report) Validate() error {
	switch {
	case r.APIVersion != APIVersion:
		return fmt.Errorf("apiVersion is %q, not %q", clip(r.APIVersion, 64), APIVersion)
	case r.Cluster == "":
		return errors.New("cluster is missing")
	case r.Time.IsZero():
		return errors.New("time is missing")
	}
	seen := make(map[string]bool, len(r.Apps))
	for i := range r.Apps {
		app := &r.Apps[i]
		name := clip(app.Name, 64)
		switch {
		case app.Name == "":
			return fmt.Errorf("app %d has no name", i)
		case seen[app.Name]:
			return fmt.Errorf("app %q is reported twice", name)
		case app.Replicas.Desired < 0 || app.Replicas.Ready < 0 || app.Objects < 0 || app.Drift.Corrected < 0:
			return fmt.Errorf("app %q has a negative count", name)
		case !app.Ready && app.Since != nil:
			return fmt.Errorf("app %q is not ready, yet says since when it is", name)
		}
		seen[app.Name] = true
	}
	return nil
}
