package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// names are the names of all series that the agent serves.
func names() map[string]bool {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		New("v1").registry.Describe(descs)
	}()
	found := map[string]bool{}
	for d := range descs {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} { // of a histogram
			found[name+suffix] = true
		}
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path) //nolint:gosec // of this repository
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// expressions are the texts of a dashboard in which metrics are named, at any depth.
func expressions(value any) (found []string) {
	switch v := value.(type) {
	case map[string]any:
		for key, x := range v {
			if text, ok := x.(string); ok && slices.Contains([]string{"expr", "query", "definition"}, key) {
				found = append(found, text)
				continue
			}
			found = append(found, expressions(x)...)
		}
	case []any:
		for _, x := range v {
			found = append(found, expressions(x)...)
		}
	}
	return found
}

const monitoring = "../../examples/fleet-repo/apps/platform/monitoring/"

var metricName = regexp.MustCompile(`\b(holdfast|process|go)_[a-z0-9_]+`)

// The dashboard shows every metric of ours, and, as the alerts do, none that is not there.
func TestDashboardAndAlertsNameMetrics(t *testing.T) {
	var dashboard map[string]any
	if err := json.Unmarshal([]byte(read(t, monitoring+"holdfast-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	all, shown := names(), map[string]bool{}
	for _, text := range expressions(dashboard) {
		for _, name := range metricName.FindAllString(text, -1) {
			shown[name] = true
			if !all[name] {
				t.Errorf("the dashboard shows %s, which the agent does not have: %s", name, text)
			}
		}
	}
	for name := range documented(t) {
		if !shown[name] && !shown[name+"_bucket"] && !shown[name+"_sum"] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	for _, line := range strings.Split(read(t, monitoring+"rules.yaml"), "\n") {
		if !strings.Contains(line, "expr:") {
			continue
		}
		for _, name := range metricName.FindAllString(line, -1) {
			if !all[name] {
				t.Errorf("an alert watches %s, which the agent does not have", name)
			}
		}
	}
}

// documented are the metrics that docs/operations.md lists.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(holdfast_[a-z0-9_]+)` \\|").FindAllStringSubmatch(read(t, "../../docs/operations.md"), -1) {
		listed[row[1]] = true
	}
	return listed
}

func TestMetricsAreDocumented(t *testing.T) {
	listed, all := documented(t), names()
	for name := range listed {
		if !all[name] {
			t.Errorf("docs/operations.md lists %s, which the agent does not have", name)
		}
	}
	for name := range all {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "holdfast_") && !listed[base] {
			t.Errorf("docs/operations.md does not list %s", base)
		}
	}
}
