package preview

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// The shape of the JSON is a contract: others read it.
type (
	jsonDiff struct {
		APIVersion string        `json:"apiVersion"`
		Base       string        `json:"base"`
		Head       string        `json:"head"`
		Clusters   []jsonCluster `json:"clusters"`
	}
	jsonCluster struct {
		Name      string    `json:"name"`
		Create    int       `json:"create"`
		Configure int       `json:"configure"`
		Delete    int       `json:"delete"`
		Warnings  []string  `json:"warnings"`
		Apps      []jsonApp `json:"apps"`
	}
	jsonApp struct {
		Name    string       `json:"name"`
		Objects []jsonObject `json:"objects"`
	}
	jsonObject struct {
		ID     string `json:"id"`
		Action Action `json:"action"`
		Diff   string `json:"diff"`
	}
)

// JSON writes a Diff as the contract has it: every object of every cluster that is affected.
func (d *Diff) JSON(w io.Writer) error {
	out := jsonDiff{APIVersion: fleet.APIVersion, Base: d.Base, Head: d.Head, Clusters: []jsonCluster{}}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		n := c.Counts()
		one := jsonCluster{
			Name: c.Name, Create: n.Create, Configure: n.Configure, Delete: n.Delete, Warnings: d.warnings(c), Apps: []jsonApp{},
		}
		for _, a := range c.Apps {
			app := jsonApp{Name: a.Name}
			for _, o := range a.Objects {
				app.Objects = append(app.Objects, jsonObject{ID: render.Name(o.ID), Action: o.Action, Diff: o.Diff})
			}
			one.Apps = append(one.Apps, app)
		}
		out.Clusters = append(out.Clusters, one)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("write the diff: %w", err)
	}
	return nil
}

// warnings are all that a person has to know of a cluster, in words.
func (d *Diff) warnings(c *Cluster) []string {
	texts := slices.Clone(c.Warnings)
	if texts == nil {
		texts = []string{}
	}
	for i := range c.Holds {
		h := &c.Holds[i]
		text := fmt.Sprintf("app %q: %s held: %s: %s", h.App, deletions(len(h.Objects)), objectNames(h.Objects), h.Why)
		for _, p := range permits([]Cluster{{Holds: []Hold{*h}}}, d.now) {
			text += "; the permit is " + strings.TrimPrefix(p.String(), "- ")
		}
		texts = append(texts, text)
	}
	for _, a := range c.Apps {
		for _, o := range a.Objects {
			if len(o.Immutable) > 0 {
				texts = append(texts, immutableText(&o))
			}
			if o.Note != "" {
				texts = append(texts, render.Name(o.ID)+" "+o.Note)
			}
		}
	}
	return texts
}
