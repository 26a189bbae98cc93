package vet

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

// sarifSchema finds the schema of SARIF 2.1.0, as OASIS has published it, in a module that the linter's module pins.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/securego/gosec/v2")
	cmd.Dir = "../../tools"
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(module.Dir, "report/sarif/testdata/sarif-schema-2.1.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	doc, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("sarif.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSARIF: what is written is SARIF by its own schema, and has what code hosts ask for: a file below the repository
// with a line, and a rule that exists.
func TestSARIF(t *testing.T) {
	schema := sarifSchema(t)
	if schema.Validate(map[string]any{"version": "2.1.0"}) == nil {
		t.Fatal("the schema accepts a log without runs")
	}
	for name, a := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			r := vetTree(t, treetest.New(filesOf(a)))
			var b bytes.Buffer
			if err := r.SARIF(&b, "v0.1.0"); err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Error(err)
			}
			var log sarifLog
			if err := json.Unmarshal(b.Bytes(), &log); err != nil {
				t.Fatal(err)
			}
			run := log.Runs[0]
			if len(run.Results) != len(r.Findings) {
				t.Errorf("%d results of %d findings", len(run.Results), len(r.Findings))
			}
			fingerprints := map[string]bool{}
			for i, result := range run.Results {
				at := result.Locations[0].PhysicalLocation
				if run.Tool.Driver.Rules[result.RuleIndex].ID != result.RuleID || at.Region.StartLine < 1 ||
					at.ArtifactLocation.URI != r.Findings[i].File {
					t.Errorf("%+v", result)
				}
				fingerprints[result.PartialFingerprints[fingerprint]] = true
			}
			if len(fingerprints) != len(run.Results) {
				t.Errorf("%d fingerprints of %d results", len(fingerprints), len(run.Results))
			}
		})
	}
}
