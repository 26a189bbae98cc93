package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// results are the rows and where they come from.
type results struct {
	suite   suite
	Machine machine `json:"machine"`
	Runs    int     `json:"runs"`
	Quick   bool    `json:"quick,omitempty"`
	Rows    []row   `json:"rows"`
	// Quoted are figures of others that were not measured in this run.
	Quoted []quoted `json:"quoted,omitempty"`
	// Plans are calculated from the rows.
	Plans []plan `json:"plans,omitempty"`
	// Others are the cores that other programs used during each workload.
	Others []float64 `json:"others,omitempty"`
}

// quoted is a figure that was measured or published elsewhere.
type quoted struct {
	What   string `json:"what"`
	Figure string `json:"figure"`
	Source string `json:"source"`
}

const (
	measuredBefore = "measured once by the project, 2 cores, mid 2026"
	published      = "published by its project, larger machines"
)

var quotedFigures = []quoted{
	{"Flux, one Kustomization of 1,000 objects, cold", "7.5-8.7 s, 4.3-5.9 x LIMIT, 3.02 requests per object", measuredBefore},
	{"Flux, the same, nothing changed", "4.2 s, 2,009 requests, 5.4 CPU-seconds each time", measuredBefore},
	{"Flux, the same, one object changed", "3.9 s forced, 6-8.5 s at a poll of 5 s; 2,018 requests", measuredBefore},
	{"Flux, the same, drift", "2.2 s forced, else up to the interval (default 10 min)", measuredBefore},
	{"Flux, one Kustomization of 5,000 objects, cold", "59 s, 7.6 x LIMIT", measuredBefore},
	{"Flux, the same, nothing changed", "30.5 s, 10,009 requests, 39.7 CPU-seconds each time", measuredBefore},
	{"Flux, the same, one object changed", "31.6 s, 10,018 requests; 440 MiB", measuredBefore},
	{"Argo CD's gitops-engine agent, 1,000 objects, cold", "41 s, 28 x LIMIT, 3.1 requests per object, 1.85 GiB", measuredBefore},
	{"Flux, 1,000 Kustomizations (4,000 objects), cold", "4 min 13 s", published},
	{"Config Sync, 10,000 ConfigMaps", "120 s, 323 MB", published},
	{"Config Sync, 3,000 Deployments", "50 s, 426 MB", published},
	{"Argo CD, 50,000 applications on 500 clusters", "22 min on three nodes of 8 vCPU", published},
	{"Karmada, change to member cluster, 100 clusters", "p50 0.7 s, p99 1.3 s", published},
}

// write prints the table and writes the files that are asked for.
func (r *results) write(out io.Writer, jsonFile, markdownFile string) error {
	r.Quoted = r.suite.quoted
	if err := r.print(out); err != nil {
		return err
	}
	var errs []error
	if jsonFile != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			err = os.WriteFile(jsonFile, append(b, '\n'), 0o644) //nolint:gosec // figures are no secret
		}
		errs = append(errs, err)
	}
	if markdownFile != "" {
		errs = append(errs, r.insert(markdownFile))
	}
	return errors.Join(errs...)
}

var header = []string{"workload", "measure", "Holdfast", "min-max", "reference", "its figure", "min-max", "ratio", "target", "reached"}

// cells are what is shown of a row, in the header's order.
func (r *row) cells() []string {
	cells := []string{r.Workload, r.What, figure(median(r.Ours)) + " " + r.Unit, spread(r.Ours), r.Reference, "", "", "", "", ""}
	if len(r.Theirs) > 0 {
		cells[5], cells[6] = figure(median(r.Theirs))+" "+r.Unit, spread(r.Theirs)
	}
	if v := r.ratio(); !math.IsNaN(v) && !math.IsInf(v, 0) {
		cells[7] = fmt.Sprintf("%.2f", v)
	}
	if t := r.Target; t != nil {
		switch {
		case t.Ratio:
			cells[8] = "<= " + figure(t.Limit) + " x"
		case t.Worst:
			cells[8] = "<= " + figure(t.Limit) + " " + r.Unit + ", worst"
		default:
			cells[8] = "<= " + figure(t.Limit) + " " + r.Unit
		}
	}
	if ok, known := r.reached(); known {
		cells[9] = map[bool]string{true: "yes", false: "NO"}[ok]
	}
	return cells
}

func spread(samples []float64) string {
	if len(samples) < 2 {
		return ""
	}
	return figure(slices.Min(samples)) + "-" + figure(slices.Max(samples))
}

func (r *results) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(header, "\t"))
	for i := range r.Rows {
		_, _ = fmt.Fprintln(w, strings.Join(r.Rows[i].cells(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	for i := range r.Rows {
		if n := r.Rows[i].Note; n != "" {
			_, _ = fmt.Fprintf(out, "note: %s, %s: %s\n", r.Rows[i].Workload, r.Rows[i].What, n)
		}
	}
	if len(r.Quoted) == 0 {
		return nil
	}
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nquoted, not measured in this run\tfigure\tsource")
	for _, q := range r.Quoted {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", q.What, q.Figure, q.Source)
	}
	return w.Flush()
}

// markdown is the section of the results.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString(r.Machine.markdown(r.suite.sharing))
	fmt.Fprintf(&b, "\n%s\n\n", r.suite.method(r))
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(header)
	b.WriteString("|" + strings.Repeat("---|", len(header)) + "\n")
	for i := range r.Rows {
		line(r.Rows[i].cells())
	}
	b.WriteString("\n")
	for i := range r.Rows {
		if n := r.Rows[i].Note; n != "" {
			fmt.Fprintf(&b, "- %s, %s: %s\n", r.Rows[i].Workload, r.Rows[i].What, n)
		}
	}
	if len(r.Plans) > 0 {
		b.WriteString(planMarkdown(r.Plans))
	}
	if len(r.Quoted) == 0 {
		return b.String()
	}
	b.WriteString("\nOthers, quoted and not measured in this run:\n\n| what | figure | source |\n|---|---|---|\n")
	for _, q := range r.Quoted {
		line([]string{q.What, q.Figure, q.Source})
	}
	return b.String()
}

// The markers stand around what is generated.
const endMarker = "<!-- results: end -->\n"

func (s *suite) beginMarker() string {
	return "<!-- results: begin, written by make " + s.target + " -->\n"
}

// insert writes the section into the file, between the markers if it has them.
func (r *results) insert(file string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content := r.markdown()
	begin := r.suite.beginMarker()
	if before, rest, ok := strings.Cut(string(old), begin); ok {
		_, after, ok := strings.Cut(rest, endMarker)
		if !ok {
			return fmt.Errorf("%s: no line %q behind the first marker", file, strings.TrimSpace(endMarker))
		}
		content = before + begin + "\n" + content + "\n" + endMarker + after
	}
	return os.WriteFile(file, []byte(content), 0o644) //nolint:gosec // a page of the documentation
}
