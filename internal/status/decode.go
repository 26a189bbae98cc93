package status

import (
	"errors"
	"fmt"
	"io"

	kjson "sigs.k8s.io/json"
)

// MaxReportBytes bounds a report that is read: some 10,000 apps.
const MaxReportBytes = 8 << 20

// Decode reads a report written by another agent, perhaps a newer one. Unknown fields are ignored, so
// that newer agents can say more. What is known is checked strictly: exact field names, no duplicate
// fields, the required ones present, at most MaxReportBytes. Nothing is to be concluded from a report
// that does not decode; it is as good as none.
func Decode(r io.Reader) (Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxReportBytes+1))
	if err != nil {
		return Report{}, fmt.Errorf("read status report: %w", err)
	}
	if len(data) > MaxReportBytes {
		return Report{}, fmt.Errorf("read status report: larger than %d bytes", MaxReportBytes)
	}
	var wire wireReport
	strict, err := kjson.UnmarshalStrict(data, &wire, kjson.DisallowDuplicateFields)
	if err = errors.Join(append(strict, err)...); err != nil {
		return Report{}, fmt.Errorf("decode status report: %w", err)
	}
	report := wire.Report
	report.Apps = make([]App, len(wire.Apps))
	for i := range wire.Apps {
		if report.Apps[i], err = wire.Apps[i].app(); err != nil {
			return Report{}, fmt.Errorf("decode status report: %w", err)
		}
	}
	if err := report.Validate(); err != nil {
		return Report{}, fmt.Errorf("decode status report: %w", err)
	}
	if wire.Apps == nil {
		return Report{}, errors.New("decode status report: apps is missing")
	}
	return report, nil
}

// wireReport is a Report whose required parts can be seen to be missing: the outer fields shadow
// those of the same name within. Required is what says that nothing of an app is here: that must never be read
// out of a report that does not say it.
type wireReport struct {
	Report `json:",inline"`
	Apps   []wireApp `json:"apps"`
}

type wireApp struct {
	App       `json:",inline"`
	Placement *string   `json:"placement"`
	Replicas  *Replicas `json:"replicas"`
	Objects   *int      `json:"objects"`
}

func (w *wireApp) app() (App, error) {
	var missing string
	switch {
	case w.Placement == nil:
		missing = "placement"
	case w.Replicas == nil:
		missing = "replicas"
	case w.Objects == nil:
		missing = "objects"
	default:
		app := w.App
		app.Placement, app.Replicas, app.Objects = *w.Placement, *w.Replicas, *w.Objects
		return app, nil
	}
	return App{}, fmt.Errorf("app %q: %s is missing", clip(w.Name, 64), missing)
}
