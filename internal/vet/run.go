package vet

import (
	"context"
	"fmt"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/manifest"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// Request says what to look at.
type Request struct {
	// Tree holds the files; Commit is their commit, "" for files on disk.
	Tree   tree.Tree
	Commit string
	// Below is the folder of the fleet in its repository, "." at the top: files are named from there.
	Below string
	// Fleet is what Tree declares.
	Fleet *fleet.Fleet
	// Now is the time by which permits have run out.
	Now time.Time
	// Progress, if set, is told how many clusters have been looked at, and of how many.
	Progress func(done, total int)
}

// vetter looks at one fleet.
type vetter struct {
	tree    tree.Tree
	fleet   *fleet.Fleet
	now     time.Time
	sources *sources
	repo    *repository
	kinds   *manifest.Kubernetes
	findings

	// views are the placements that are judged.
	views []view
	// checked are the objects that were judged, by their hash and by what defines their kind.
	checked map[checkedKey]*checked
	// definitions are those of rendered CustomResourceDefinitions, by hash.
	definitions map[string]definition
	// unchecked are the kinds of which nothing is known.
	unchecked map[schema.GroupVersionKind]bool
	// ignores tells which rules of spec.drift.ignore have matched, by app; failed, which apps do not build somewhere.
	ignores map[string][]bool
	failed  map[string]bool
}

// Run finds what is wrong with a fleet. It returns an error if ctx ends, and for nothing that is in the repository.
func Run(ctx context.Context, req Request) (*Report, error) {
	kinds, err := manifest.Load()
	if err != nil {
		return nil, err
	}
	t := still{req.Tree}
	v := &vetter{
		tree: t, fleet: req.Fleet, now: req.Now, sources: newSources(t), kinds: kinds,
		checked: map[checkedKey]*checked{}, definitions: map[string]definition{},
		unchecked: map[schema.GroupVersionKind]bool{}, ignores: map[string][]bool{}, failed: map[string]bool{},
	}
	v.problems(req.Fleet.Problems)
	v.repo = v.survey(ctx)
	v.settings()
	for _, app := range req.Fleet.Apps {
		v.app(app)
	}
	v.views = views(req.Fleet)
	v.dependencies()
	if err := v.clusters(ctx, req); err != nil {
		return nil, err
	}
	v.unusedIgnores()
	v.unusedKustomizations()
	return &Report{
		Commit: req.Commit, Kubernetes: kinds.Version,
		Clusters: len(req.Fleet.Clusters), Apps: len(req.Fleet.Apps), Objects: len(v.checked),
		Findings: v.list(below(req.Below)),
	}, nil
}

// Broken reports a fleet of which nothing is known but what is wrong with its files.
func Broken(problems []fleet.Problem, folder string) *Report {
	v := &vetter{}
	v.problems(problems)
	return &Report{Findings: v.list(below(folder))}
}

func below(folder string) func(string) string {
	return func(file string) string { return path.Join(folder, file) }
}

// problems takes over what is wrong with fleet files.
func (v *vetter) problems(problems []fleet.Problem) {
	for _, p := range problems {
		f := found{code: faultCodes[p.Fault], message: p.Message}
		switch p.Kind {
		case fleet.KindApp:
			f.app = p.Name
		case fleet.KindCluster:
			f.cluster = p.Name
		}
		v.add(position{p.Path, p.Line}, f)
	}
}

// faultCodes are the codes of the sorts of mistakes in fleet files.
var faultCodes = map[fleet.Fault]Code{
	fleet.Unreadable:      Unreadable,
	fleet.Misplaced:       MisplacedFile,
	fleet.UnknownField:    UnknownField,
	fleet.MissingField:    MissingField,
	fleet.InvalidValue:    InvalidValue,
	fleet.NameTaken:       NameTaken,
	fleet.UnknownApp:      UnknownApp,
	fleet.DependencyCycle: DependencyCycle,
}

// broken tells whether files of a kind are broken: what they declare is unknown then, and not absent.
func (v *vetter) broken(kind string) bool {
	for _, p := range v.fleet.Problems {
		// An app with a wrong dependsOn is in the fleet all the same.
		if p.Kind == kind && p.Fault != fleet.UnknownApp && p.Fault != fleet.DependencyCycle {
			return true
		}
	}
	return false
}

// appFile is the file in which an app is declared.
func appFile(a *fleet.App) string {
	if a.Implicit {
		return path.Join(a.Dir, "cluster.yaml")
	}
	return path.Join(a.Dir, "app.yaml")
}

// clusters renders every cluster and judges what it gets.
func (v *vetter) clusters(ctx context.Context, req Request) error {
	candidates := everywhere(v.fleet)
	renderer := render.NewRenderer()
	renderer.ManyClusters = true
	for i, c := range v.fleet.Clusters {
		res, err := render.Cluster(ctx, render.ClusterRequest{
			Head: v.tree, HeadCommit: req.Commit, Fleet: candidates, Name: c.Name, Instance: "vet", Renderer: renderer,
		})
		if err != nil {
			return fmt.Errorf("vet: %w", err)
		}
		v.cluster(c, res)
		if req.Progress != nil {
			req.Progress(i+1, len(v.fleet.Clusters))
		}
	}
	return nil
}
