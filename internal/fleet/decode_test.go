package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

// issues shows what is wrong with a document, one line each.
func issues(r *report) []string {
	var lines []string
	for _, i := range r.issues {
		lines = append(lines, fmt.Sprintf("%d: %s", i.line, i.message))
	}
	return lines
}

func TestDecodeForm(t *testing.T) {
	tests := []struct {
		name, data string
		want       []string
	}{
		{"empty", "", []string{"0: is empty"}},
		{"only a comment", "# nothing\n", []string{"0: is empty"}},
		{"null", "null\n", []string{"1: must be a mapping with apiVersion, kind, metadata and spec"}},
		{"a list", "- a\n", []string{"1: must be a mapping with apiVersion, kind, metadata and spec"}},
		{"no apiVersion, no kind", "metadata: {name: a}\n", []string{
			"1: apiVersion: is missing, must be holdfast.dev/v1alpha1", "1: kind: is missing, must be App"}},
		{"another kind says nothing else", "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {}}\n", []string{
			`1: apiVersion: must be holdfast.dev/v1alpha1, is "apps/v1"`, `2: kind: must be App, is "Deployment"`}},
		{"another kind of ours", header + "kind: Cluster\nmetadata: {name: a}\n", []string{`2: kind: must be App, is "Cluster"`}},
		{"no metadata", header + "kind: App\n", []string{"0: metadata: is missing"}},
		{"no name", header + "kind: App\nmetadata: {}\n", []string{"3: metadata.name: is missing"}},
		{"an empty name", header + "kind: App\nmetadata: {name: ''}\n", []string{
			`3: metadata.name: must be lower-case letters, digits and dashes, at most 63 characters (a DNS label), is ""`}},
		{"two documents", header + "kind: App\nmetadata: {name: a}\n---\na: b\n", []string{"5: holds more than one document"}},
		{"a trailing separator", header + "kind: App\nmetadata: {name: a}\n---\n", nil},
		{"syntax", header + "kind: App\nmetadata: {name: a\nspec: {}\n", []string{"3: did not find expected ',' or '}'"}},
		{"a tab", header + "kind: App\nmetadata:\n\tname: a\n", []string{"4: found character that cannot start any token"}},
		{"binary", "\x00\x01\x02", []string{"0: control characters are not allowed"}},
		{"not UTF-8", "a: \xff\n", []string{"0: invalid leading UTF-8 octet"}},
		{"too large", strings.Repeat(" ", maxFileSize+1), []string{"0: is larger than 1048576 bytes"}},
		{"deep nesting", "a: " + strings.Repeat("[", 20_000), []string{"0: exceeded max depth of 10000"}},
		{"deep nesting below an unknown field", header + "kind: App\nmetadata: {name: a}\nx: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n",
			[]string{"4: x: unknown field"}},
		{"an anchor is fine", header + "kind: App\nmetadata: {name: a}\nspec:\n  overlays:\n  - clusterSelector: &s {matchLabels: {a: b}}\n    path: x\n  - clusterSelector: *s\n    path: y\n", nil},
		{"an unknown anchor", header + "kind: *k\n", []string{"0: unknown anchor 'k' referenced"}},
		{"an alias in itself", header + "kind: App\nmetadata: {name: a}\nspec: &s\n  placement: *s\n", []string{"5: spec.placement.placement: unknown field"}},
		{"a merge key", header + "kind: App\nmetadata: {name: a}\nspec:\n  <<: {suspend: true}\n", []string{"5: spec: merge keys (<<) are not supported"}},
		{"keys that are no strings", header + "kind: App\nmetadata: {name: a}\n1: x\n? [a]\n: b\ntrue: x\n", []string{
			"4: has a key that is a number and must be a string", "5: has a key that is a list and must be a string", "7: has a key that is a boolean and must be a string"}},
		{"a key from a terminal's nightmare", header + "kind: App\nmetadata: {name: a}\n\"a\\eb\": x\n", []string{`4: ["a\x1bb"]: unknown field`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, issues(decode([]byte(test.data), &App{}))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString(header + "kind: App\nmetadata: {name: a}\nspec:\n  overlays:\n  - path: x\n    clusterSelector: &s\n      matchExpressions:\n")
	b.WriteString("      - &e {key: a, operator: In, values: [" + strings.Repeat("v,", 10_000) + "]}\n")
	b.WriteString(strings.Repeat("      - *e\n", 10_000))
	b.WriteString(strings.Repeat("  - {path: x, clusterSelector: *s}\n", 10_000))
	start := time.Now()
	r := decode([]byte(b.String()), &App{})
	got := issues(r)
	if len(got) == 0 || got[0] != "0: holds more than 100000 values, aliases counted as often as they are used" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestDecodeFields(t *testing.T) {
	tests := []struct {
		name string
		doc  document
		spec string // from line 4
		want []string
	}{
		{"several errors, all of them, in order", &App{}, "  suspend: maybe\n  overlays:\n  - pth: x\n  placement:\n    clusters: two\n", []string{
			"5: spec.suspend: must be true or false, is a string",
			`7: spec.overlays[0].pth: unknown field (did you mean "path"?)`,
			"7: spec.overlays[0].path: is missing",
			"9: spec.placement.clusters: must be a whole number, is a string"}},
		{"a key given twice", &App{}, "  suspend: true\n  suspend: false\n", []string{"6: spec.suspend: is given twice, first on line 5"}},
		{"a label given twice", &App{}, "  placement:\n    clusterSelector:\n      matchLabels:\n        a: b\n        a: c\n",
			[]string{"9: spec.placement.clusterSelector.matchLabels.a: is given twice, first on line 8"}},
		{"sections whose lines are commented out", &Settings{}, "  drain:\n  freeze:\n  prune:\n", nil},
		{"another case", &App{}, "  allowempty: true\n", []string{`5: spec.allowempty: unknown field (did you mean "allowEmpty"?)`}},
		{"nothing like it", &App{}, "  helmRelease: true\n", []string{`5: spec.helmRelease: unknown field`}},

		{"a drain needs its selector", &Settings{}, "  drain:\n  - reason: x\n", []string{"6: spec.drain[0].clusterSelector: is missing"}},
		{"a drain of nothing is not one of everything", &Settings{}, "  drain:\n  - clusterSelector:\n    reason: x\n",
			[]string{"6: spec.drain[0].clusterSelector: must be a mapping, is empty; {} selects every cluster"}},
		{"a drain by no labels is not one of everything", &Settings{}, "  drain:\n  - clusterSelector:\n      matchLabels:\n      # region: us-east\n",
			[]string{"7: spec.drain[0].clusterSelector.matchLabels: has no value"}},
		{"a drain of everything, said so", &Settings{}, "  drain:\n  - clusterSelector: {}\n", nil},
		{"form and values together, each field once", &App{}, "  suspend: maybe\n  overlays:\n  -\n  - path: /etc\n  replicas: {}\n  placement: {clusters: 0}\n  nonsense: true\n", []string{
			"5: spec.suspend: must be true or false, is a string",
			"7: spec.overlays[0]: has no value",
			"8: spec.overlays[1].path: must be a relative path that stays in the repository",
			"9: spec.replicas.total: is missing",
			"10: spec.placement.clusters: must be at least 1, is 0",
			"11: spec.nonsense: unknown field"}},
		{"an empty line of a list", &Settings{}, "  drain:\n  -\n", []string{"6: spec.drain[0]: has no value"}},
		{"a mapping for a list", &Settings{}, "  drain: {clusterSelector: {}}\n", []string{"5: spec.drain: must be a list, is a mapping"}},
		{"a list for a mapping", &App{}, "  placement: [a]\n", []string{"5: spec.placement: must be a mapping, is a list"}},

		{"selector: unknown operator", &App{}, "  placement:\n    clusterSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}\n",
			[]string{`6: spec.placement.clusterSelector: "Is" is not a valid label selector operator`}},
		{"selector: In without values", &App{}, "  placement:\n    clusterSelector: {matchExpressions: [{key: a, operator: In}]}\n",
			[]string{`6: spec.placement.clusterSelector: values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty`}},
		{"selector: bad value", &App{}, "  placement:\n    prefer: [{matchLabels: {a: b c}}]\n",
			[]string{`6: spec.placement.prefer[0]: values[0][a]: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		{"selector: unknown field", &App{}, "  placement:\n    clusterSelector: {region: us}\n", []string{"6: spec.placement.clusterSelector.region: unknown field"}},
		{"selector: a number as a value", &App{}, "  placement:\n    clusterSelector: {matchLabels: {tier: 1}}\n",
			[]string{"6: spec.placement.clusterSelector.matchLabels.tier: must be a string, is a number: put it in quotes"}},
		{"selector: requirement without a key", &App{}, "  placement:\n    clusterSelector: {matchExpressions: [{operator: Exists}]}\n",
			[]string{"6: spec.placement.clusterSelector.matchExpressions[0].key: is missing"}},

		{"clusters: 0", &App{}, "  placement: {clusters: 0}\n", []string{"5: spec.placement.clusters: must be at least 1, is 0"}},
		{"clusters: too large", &App{}, "  placement: {clusters: 99999999999}\n", []string{`5: spec.placement.clusters: must be a whole number of at most 2147483647, is "99999999999"`}},
		{"clusters: a fraction", &App{}, "  placement: {clusters: 1.5}\n", []string{"5: spec.placement.clusters: must be a whole number, is a number"}},
		{"spreadBy is a label key", &App{}, "  placement: {spreadBy: 'a/b/c'}\n", []string{"5: spec.placement.spreadBy: a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"}},
		{"overlay: an absolute path, no path", &App{}, "  overlays:\n  - path: /etc\n  - path: ''\n", []string{
			"6: spec.overlays[0].path: must be a relative path that stays in the repository", "7: spec.overlays[1].path: must not be empty"}},
		{"namespace", &App{}, "  namespace: A_b\n", []string{`5: spec.namespace: must be lower-case letters, digits and dashes, at most 63 characters (a DNS label), is "A_b"`}},
		{"replicas", &App{}, "  replicas: {total: -1, target: {kind: '', name: x}}\n", []string{
			"5: spec.replicas.total: must not be negative, is -1", "5: spec.replicas.target.kind: must not be empty"}},
		{"replicas without a total", &App{}, "  replicas: {}\n", []string{"5: spec.replicas.total: is missing"}},
		{"dependsOn: itself, twice, no name", &App{}, "  dependsOn: [a, b, b, B]\n", []string{
			"5: spec.dependsOn[0]: an app cannot depend on itself", `5: spec.dependsOn[2]: "b" is given twice`,
			`5: spec.dependsOn[3]: must be lower-case letters, digits and dashes, at most 63 characters (a DNS label), is "B"`}},
		{"soak: not a duration, negative, a number", &App{}, "  rollout:\n    waves:\n    - soak: soon\n    - soak: -5m\n    - soak: 5\n", []string{
			`7: spec.rollout.waves[0].soak: "soon" is not a duration such as 90s or 5m`,
			`8: spec.rollout.waves[1].soak: "-5m" is not a duration such as 90s or 5m`,
			`9: spec.rollout.waves[2].soak: must be a string, is a number: put it in quotes`}},
		{"maxFailures", &App{}, "  rollout: {maxFailures: -1}\n", []string{"5: spec.rollout.maxFailures: must not be negative, is -1"}},
		{"gate", &App{}, "  failover: {gate: Never}\n", []string{`5: spec.failover.gate: must be one of TakeoverHealthy, Exclusive, None, is "Never"`}},
		{"an exclusive app runs on one cluster", &App{}, "  failover: {gate: Exclusive}\n", []string{`5: spec.failover.gate: Exclusive allows at most one cluster: set spec.placement.clusters to 1`}},
		{"health timeout of 0", &App{}, "  health: {timeout: 0s}\n", []string{"5: spec.health.timeout: must be more than 0"}},
		{"drift", &App{}, "  drift:\n    mode: Off\n    ignore:\n    - kind: X\n    - fields: []\n    - fields: [spec/replicas, /a~2, /a~1b/~0, '']\n", []string{
			`6: spec.drift.mode: must be one of Correct, Strict, Detect, is "Off"`,
			`8: spec.drift.ignore[0].fields: is missing`,
			`9: spec.drift.ignore[1].fields: must name at least one field`,
			`10: spec.drift.ignore[2].fields[0]: must be a JSON pointer such as /spec/replicas, is "spec/replicas"`,
			`10: spec.drift.ignore[2].fields[1]: must be a JSON pointer such as /spec/replicas, is "/a~2"`,
			`10: spec.drift.ignore[2].fields[3]: must be a JSON pointer such as /spec/replicas, is ""`}},

		{"prune numbers", &Settings{}, "  prune: {maxPercent: 101, minObjects: -1}\n", []string{
			"5: spec.prune.maxPercent: must be between 0 and 100, is 101", "5: spec.prune.minObjects: must not be negative, is -1"}},
		{"a permit needs an app and an end", &Settings{}, "  prune:\n    permit:\n    - {kinds: ['']}\n", []string{
			"7: spec.prune.permit[0].app: is missing", "7: spec.prune.permit[0].until: is missing",
			"7: spec.prune.permit[0].kinds[0]: must not be empty"}},
		{"a permit's date", &Settings{}, "  prune:\n    permit:\n    - {app: a, until: 2026-13-01}\n    - {app: a, until: tomorrow}\n    - {app: a, until: 2026-12-01 10:00}\n", []string{
			`7: spec.prune.permit[0].until: "2026-13-01" is not a day such as 2026-12-01 or a time such as 2026-12-01T18:00:00Z`,
			`8: spec.prune.permit[1].until: "tomorrow" is not a day such as 2026-12-01 or a time such as 2026-12-01T18:00:00Z`,
			`9: spec.prune.permit[2].until: "2026-12-01 10:00" is not a day such as 2026-12-01 or a time such as 2026-12-01T18:00:00Z`}},
		{"acceptHistory", &Settings{}, "  acceptHistory: main\n", []string{`5: spec.acceptHistory: must be a full commit id of 40 (or 64) lower-case hexadecimal digits, is "main"`}},

		{"state, weight", &Cluster{}, "  state: Off\n  weight: 0\n", []string{`5: spec.state: must be one of Active, Drained, Lost, is "Off"`, "6: spec.weight: must be at least 1, is 0"}},
		{"weight", &Cluster{}, "  weight: 0\n", []string{"5: spec.weight: must be at least 1, is 0"}},
		{"vars", &Cluster{}, "  vars:\n    port: 8080\n    ok: yes\n    empty:\n", []string{
			"6: spec.vars.port: must be a string, is a number: put it in quotes", "8: spec.vars.empty: must be a string, is empty"}},
		{"names of vars", &Cluster{}, "  vars: {a-b: x, CLUSTER_NAME: x, CLUSTER_LABEL_X: x, 1a: x}\n", []string{
			"5: spec.vars.1a: the name must be letters, digits and underscores, and not begin with a digit",
			"5: spec.vars.CLUSTER_LABEL_X: the name is taken by the cluster's own facts",
			"5: spec.vars.CLUSTER_NAME: the name is taken by the cluster's own facts",
			"5: spec.vars.a-b: the name must be letters, digits and underscores, and not begin with a digit"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := header + "kind: " + test.doc.kind() + "\nmetadata: {name: a}\nspec:\n" + test.spec
			if diff := cmp.Diff(test.want, issues(decode([]byte(data), test.doc))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeNeverShowsVars(t *testing.T) {
	r := decode([]byte(header+"kind: Cluster\nmetadata: {name: a}\nspec:\n  vars: {token: [hunter2], pin: 471147, 'to-ken': hunter2}\n"), &Cluster{})
	for _, line := range issues(r) {
		if strings.Contains(line, "hunter2") || strings.Contains(line, "471147") {
			t.Errorf("shows a value: %s", line)
		}
	}
}

func TestDecodeBoundsItsReport(t *testing.T) {
	r := decode([]byte(header+"kind: App\nmetadata: {name: a}\nspec:\n  dependsOn: ["+strings.Repeat("B,", 5000)+"]\n"), &App{})
	if len(r.issues) != maxIssues {
		t.Errorf("got %d issues, want %d", len(r.issues), maxIssues)
	}
}

func FuzzDecodeSettings(f *testing.F) { fuzzDecode(f, func() document { return &Settings{} }) }
func FuzzDecodeCluster(f *testing.F)  { fuzzDecode(f, func() document { return &Cluster{} }) }
func FuzzDecodeApp(f *testing.F)      { fuzzDecode(f, func() document { return &App{} }) }

// fuzzDecode: no input makes the decoder panic, and what decodes can be written and decodes to the same.
func fuzzDecode(f *testing.F, fresh func() document) {
	for _, file := range txtar.Parse([]byte(full)).Files {
		f.Add(file.Data)
	}
	f.Add([]byte(header + "kind: App\nmetadata: {name: &n a, labels: {x: *n}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc := fresh()
		if r := decode(data, doc); len(r.issues) > 0 {
			return
		}
		written, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", doc, err)
		}
		again := fresh()
		if r := decode(written, again); len(r.issues) > 0 {
			t.Fatalf("what was written does not decode: %v\n%s", issues(r), written)
		}
		if diff := cmp.Diff(doc, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed (-before +after):\n%s", diff)
		}
	})
}

func TestSyntaxErrorsNameTheirLine(t *testing.T) {
	const top = header + "kind: App\nmetadata: {name: a}\nspec:\n" // 4 lines
	tests := []struct {
		name, data string
		line       int
	}{
		{"bad indentation", top + "  suspend: true\n suspend: true\n", 6},
		{"two values in a line", top + "  suspend: a: b\n", 5},
		{"a quote that is not closed", top + "  namespace: \"x\n", 5},
		{"a line without a colon", top + "  overlays:\n  nonsense\n  suspend: true\n", 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := decode([]byte(test.data), &App{})
			if len(r.issues) != 1 || max(r.issues[0].line-test.line, test.line-r.issues[0].line) > 1 {
				t.Errorf("got %q, want line %d, or one beside it", issues(r), test.line)
			}
		})
	}
}
