package overview

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// JSON writes the last report of each cluster, sorted by the cluster's name: one array, over many lines or on
// one. A cluster without a report that is believed is not in it: Warnings tells.
func (o *Overview) JSON(w io.Writer, oneLine bool) error {
	reports := []*status.Report{}
	for i := range o.Rows {
		if r := o.Rows[i].Report; r != nil {
			reports = append(reports, r)
		}
	}
	slices.SortFunc(reports, func(a, b *status.Report) int { return strings.Compare(a.Cluster, b.Cluster) })
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if !oneLine {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(reports); err != nil {
		return fmt.Errorf("write the reports: %w", err)
	}
	return nil
}

// Warnings say what the JSON leaves out, or what must be known of it: a line for each.
func (o *Overview) Warnings() (warnings []string) {
	add := func(names []string, text string) {
		if len(names) > 0 {
			warnings = append(warnings, plain.Line(text+": "+moves.List(names, 20, "")))
		}
	}
	for i := range o.Rows {
		if r := &o.Rows[i]; r.Heard == Refused {
			warnings = append(warnings, plain.Line("the status of "+r.Cluster+" cannot be used: "+r.Problem))
		}
	}
	add(o.names(func(r *Row) bool { return r.Heard == Never && r.State != fleet.Lost }), "never reported")
	add(o.names(func(r *Row) bool { return r.Heard == Unread }), "could not be read")
	add(o.names(func(r *Row) bool { return r.Heard == Silent && r.State != fleet.Lost }), "silent, what they reported may be true no longer")
	add(o.names(func(r *Row) bool { return r.Declared == DeclaredNot }), "not in Git")
	return warnings
}
