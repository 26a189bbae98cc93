package fleet

import (
	"fmt"
	"maps"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Overlay returns the folder that is built for a cluster with these labels: slash-separated, cleaned,
// relative to the fleet root. The first overlay that matches wins; an app without overlays is built
// from its own folder. It is an error if none matches, or if the path leaves the repository: neither
// ever means that the app has no objects.
func (a *App) Overlay(clusterLabels map[string]string) (string, error) {
	if len(a.Spec.Overlays) == 0 {
		return a.Dir, nil
	}
	for i := range a.Spec.Overlays {
		overlay := &a.Spec.Overlays[i]
		if !overlay.ClusterSelector.Matches(clusterLabels) {
			continue
		}
		dir, err := resolve(a.Dir, overlay.Path)
		if err != nil {
			return "", fmt.Errorf("app %q: overlay %q: %w", a.Name, overlay.Path, err)
		}
		return dir, nil
	}
	return "", fmt.Errorf("app %q: none of its %d overlays matches the cluster's labels {%s}",
		a.Name, len(a.Spec.Overlays), labels.Set(clusterLabels))
}

// resolve joins dir and the relative path p; the result must stay below the fleet root.
func resolve(dir, p string) (string, error) {
	joined := path.Join(dir, p)
	switch {
	case p == "":
		return "", errEmptyPath
	case path.IsAbs(p), joined == "..", strings.HasPrefix(joined, "../"):
		return "", errLeavesRepository
	}
	return joined, nil
}

// Facts are what manifests may know of the cluster they are built for.
type Facts struct {
	Name   string
	Labels map[string]string
	Vars   map[string]string
}

// Facts returns the cluster's facts; the maps are copies.
func (c *Cluster) Facts() Facts {
	return Facts{Name: c.Name, Labels: maps.Clone(c.Labels), Vars: maps.Clone(c.Spec.Vars)}
}
