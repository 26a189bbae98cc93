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
		if wire.Apps[i].Replicas == nil {
			return Report{}, fmt.Errorf("decode status report: app %q has no replicas", clip(wire.Apps[i].Name, 64))
		}
		report.Apps[i] = wire.Apps[i].App
		report.Apps[i].Replicas = *wire.Apps[i].Replicas
	}
	if err := report.Validate(); err != nil {
		return Report{}, fmt.Errorf("decode status report: %w", err)
	}
	return report, nil
}

// wireReport is a Report whose required parts can be seen to be missing: the outer fields shadow
// those of the same name within.
type wireReport struct {
	Report `json:",inline"`
	Apps   []wireApp `json:"apps"`
}

type wireApp struct {
	App      `json:",inline"`
	Replicas *Replicas `json:"replicas"`
}
