package vet

import (
	"encoding/json"
	"io"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// JSON writes the report for programs; docs/vet.md has the shape.
func (r *Report) JSON(w io.Writer) error {
	errors, warnings := r.Count()
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		APIVersion string    `json:"apiVersion"`
		Commit     string    `json:"commit,omitempty"`
		Kubernetes string    `json:"kubernetes,omitempty"`
		Clusters   int       `json:"clusters"`
		Apps       int       `json:"apps"`
		Objects    int       `json:"objects"`
		Errors     int       `json:"errors"`
		Warnings   int       `json:"warnings"`
		Findings   []Finding `json:"findings"`
	}{fleet.APIVersion, r.Commit, r.Kubernetes, r.Clusters, r.Apps, r.Objects, errors, warnings, r.Findings})
}
