package vet

import (
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
)

// Text writes the findings as compilers do, a line each and one for what it concerns, whatever the names in them:
//
//	apps/web/deployment.yaml:7: error: spec.replica: unknown field (did you mean "replicas"?) [unknown-field]
//	    apps/Deployment/shop/web; app web; all 5 clusters
func (r *Report) Text(w io.Writer) error {
	var out strings.Builder
	for i := range r.Findings {
		f := &r.Findings[i]
		where := plain.Line(f.File)
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, f.Line)
		}
		fmt.Fprintf(&out, "%s: %s: %s [%s]\n", where, f.Severity, plain.Line(f.Message), f.Code)
		if concern := r.concern(f); concern != "" {
			fmt.Fprintf(&out, "    %s\n", concern)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Summary says in a line what was looked at and how much was found.
func (r *Report) Summary() string {
	errors, warnings := r.Count()
	found := "no findings"
	if errors+warnings > 0 {
		found = moves.Count(errors, "error", "errors") + ", " + moves.Count(warnings, "warning", "warnings")
	}
	if r.Kubernetes == "" {
		return found + "; nothing else can be said until fleet.yaml is mended"
	}
	return fmt.Sprintf("%s: %s on %s, %s, checked against Kubernetes %s", found, moves.Count(r.Apps, "app", "apps"),
		moves.Count(r.Clusters, "cluster", "clusters"), moves.Count(r.Objects, "object", "objects"), r.Kubernetes)
}
