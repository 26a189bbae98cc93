package failover

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

const header = "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: acme}\n"

func east() labels.Set { return labels.Set{"region": "us-east"} }

func drainEast() Change   { return Change{Selectors: []labels.Set{east()}, Reason: "power"} }
func forceEast() Change   { return Change{Selectors: []labels.Set{east()}, Force: true} }
func restoreEast() Change { return Change{Selectors: []labels.Set{east()}, Restore: true} }

const (
	eastEntry = "{clusterSelector: {matchLabels: {region: us-east}}, reason: power}"
	westEntry = "{clusterSelector: {matchLabels: {region: us-west}}}"
)

// TestApply shows each layout before and after; what follows the header is given.
func TestApply(t *testing.T) {
	tests := []struct {
		name          string
		change        Change
		before, after string
	}{
		{
			"no spec", drainEast(),
			"",
			"spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n",
		},
		{
			"no spec, and comments at the end", drainEast(),
			"# the end\n\n\n",
			"# the end\nspec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n\n\n",
		},
		{
			"no spec, and an end of the document", drainEast(),
			"...\n# bye\n",
			"spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n...\n# bye\n",
		},
		{
			"an empty spec", drainEast(),
			"spec: # nothing\n# bye",
			"spec: # nothing\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n# bye",
		},
		{
			"a spec of null", drainEast(),
			"spec: ~ # nothing\n",
			"spec: {drain: [" + eastEntry + "]} # nothing\n",
		},
		{
			"an empty spec within brackets", drainEast(),
			"spec: {}\n",
			"spec: {drain: [" + eastEntry + "]}\n",
		},
		{
			"a spec within brackets", drainEast(),
			"spec: {freeze: []}\n",
			"spec: {drain: [" + eastEntry + "], freeze: []}\n",
		},
		{
			"no drains", drainEast(),
			"spec:\n  # Ask before you freeze.\n  freeze: []   # none\n",
			"spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n  # Ask before you freeze.\n  freeze: []   # none\n",
		},
		{
			"no drains, in a file that indents its lists and by four", drainEast(),
			"spec:\n    freeze:\n      - clusterSelector: {}\n",
			"spec:\n    drain:\n      - clusterSelector: {matchLabels: {region: us-east}}\n        reason: power\n    freeze:\n      - clusterSelector: {}\n",
		},
		{
			"drains of nothing", drainEast(),
			"spec:\n  drain:   # none\n  # - clusterSelector: {}\n  freeze: []\n",
			"spec:\n  drain:   # none\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n  # - clusterSelector: {}\n  freeze: []\n",
		},
		{
			"drains of null", drainEast(),
			"spec: {drain: null}\n",
			"spec: {drain: [" + eastEntry + "]}\n",
		},
		{
			"an empty list", drainEast(),
			"spec:\n  # Failover is this one line.\n  drain: [ ]  # none\n",
			"spec:\n  # Failover is this one line.\n  drain: [" + eastEntry + "]  # none\n",
		},
		{
			"an empty list over two lines", drainEast(),
			"spec:\n  drain: [ # none\n  ]\n",
			"spec:\n  drain: [" + eastEntry + " # none\n  ]\n",
		},
		{
			"a list within brackets", drainEast(),
			"spec:\n  drain: [" + westEntry + "] # it's, [odd\n",
			"spec:\n  drain: [" + westEntry + ", " + eastEntry + "] # it's, [odd\n",
		},
		{
			"a list within brackets with a comma at its end and odd reasons", drainEast(),
			"spec: {drain: [{clusterSelector: {}, reason: 'it''s ] #1'}, {clusterSelector: {}, \"reason\":\"a \\\" } b\"}, {clusterSelector: {}, reason: it's a#b},]}\n",
			"spec: {drain: [{clusterSelector: {}, reason: 'it''s ] #1'}, {clusterSelector: {}, \"reason\":\"a \\\" } b\"}, {clusterSelector: {}, reason: it's a#b}, " + eastEntry + "]}\n",
		},
		{
			"a list within brackets, one entry on each line", drainEast(),
			"spec:\n  drain: [\n    " + westEntry + "  # ask Bob\n    # nothing else\n  ]\n",
			"spec:\n  drain: [\n    " + westEntry + ",  # ask Bob\n    " + eastEntry + "\n    # nothing else\n  ]\n",
		},
		{
			"a list within brackets, one entry on each line, with commas", drainEast(),
			"spec:\n  drain: [\n    " + westEntry + ",\n  ]\n",
			"spec:\n  drain: [\n    " + westEntry + ",\n    " + eastEntry + ",\n  ]\n",
		},
		{
			"a list within brackets that closes behind an entry on its own line", drainEast(),
			"spec:\n  drain: [\n    " + westEntry + "]\n",
			"spec:\n  drain: [\n    " + westEntry + ",\n    " + eastEntry + "]\n",
		},
		{
			"a list with dashes", drainEast(),
			"spec:\n  drain:\n  # ask Bob\n  - clusterSelector:\n      matchLabels:\n        region: us-west # west\n    reason: |-\n      storm\n\n      # no comment\n\n  # no content\n  freeze: []\n",
			"spec:\n  drain:\n  # ask Bob\n  - clusterSelector:\n      matchLabels:\n        region: us-west # west\n    reason: |-\n      storm\n\n      # no comment\n" +
				"  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n\n  # no content\n  freeze: []\n",
		},
		{
			"a list with dashes that is indented", drainEast(),
			"spec:\n  drain:\n    -\n      clusterSelector: {}\n",
			"spec:\n  drain:\n    -\n      clusterSelector: {}\n    - clusterSelector: {matchLabels: {region: us-east}}\n      reason: power\n",
		},
		{
			"no line break at the end", drainEast(),
			"spec:\n  drain:\n  - clusterSelector: {}",
			"spec:\n  drain:\n  - clusterSelector: {}\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power",
		},
		{
			"several keys, and values that need quotes",
			Change{Selectors: []labels.Set{{"zone": "1", "on": "yes", "topology.kubernetes.io/zone": "a.b", "x": "2026-12-01", "e": ""}}, Reason: "it's: #1 \"x\" ü"},
			"spec:\n  drain: []\n",
			"spec:\n  drain: [{clusterSelector: {matchLabels: {e: \"\", \"on\": \"yes\", topology.kubernetes.io/zone: a.b, x: \"2026-12-01\", zone: \"1\"}}, reason: \"it's: #1 \\\"x\\\" ü\"}]\n",
		},
		{
			"several entries", Change{Selectors: []labels.Set{east(), {"region": "us-west"}}, Force: true},
			"spec:\n  drain:\n",
			"spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    force: true\n  - clusterSelector: {matchLabels: {region: us-west}}\n    force: true\n",
		},
		{
			"drained already", drainEast(),
			"spec: {drain: [{clusterSelector: {matchLabels: {region: us-east}}}]}\n",
			"spec: {drain: [{clusterSelector: {matchLabels: {region: us-east}}}]}\n",
		},
		{
			"drained already, and to be forced", forceEast(),
			"spec: {drain: [" + eastEntry + "]}\n",
			"spec: {drain: [{clusterSelector: {matchLabels: {region: us-east}}, reason: power, force: true}]}\n",
		},
		{
			"drained already, with a comma at its end, and to be forced", forceEast(),
			"spec: {drain: [{clusterSelector: {matchLabels: {region: us-east}},}]}\n",
			"spec: {drain: [{clusterSelector: {matchLabels: {region: us-east}}, force: true}]}\n",
		},
		{
			"drained already with dashes, and to be forced", forceEast(),
			"spec:\n  drain:\n  -   clusterSelector:\n        matchLabels: {region: us-east}\n      # why\n      reason: power # cut\n\n  freeze: []\n",
			"spec:\n  drain:\n  -   clusterSelector:\n        matchLabels: {region: us-east}\n      # why\n      reason: power # cut\n      force: true\n\n  freeze: []\n",
		},
		{
			"drained already and not forced, and to be forced", forceEast(),
			"spec:\n  drain:\n  - force: False # yet\n    clusterSelector: {matchLabels: {region: us-east}}\n",
			"spec:\n  drain:\n  - force: true # yet\n    clusterSelector: {matchLabels: {region: us-east}}\n",
		},
		{
			"forced already", forceEast(),
			"spec: {drain: [" + eastEntry + ", {clusterSelector: {matchLabels: {region: us-east}}, force: true}]}\n",
			"spec: {drain: [" + eastEntry + ", {clusterSelector: {matchLabels: {region: us-east}}, force: true}]}\n",
		},
		{
			"restore the only one", restoreEast(),
			"spec:\n  # Failover is this line.\n  drain: [" + eastEntry + "]   # since Monday\n  freeze: []\n",
			"spec:\n  # Failover is this line.\n  drain: []   # since Monday\n  freeze: []\n",
		},
		{
			"restore the only one, with a dash", restoreEast(),
			"spec:\n  drain: # none\n\n  # old times\n\n  # ask Bob\n  # or Eve\n  - clusterSelector: {matchLabels: {region: us-east}} # all of it\n    # why\n    reason: power\n    # behind it\n\n  # no content\n  freeze: []\n",
			"spec:\n  drain: [] # none\n\n  # old times\n\n\n  # no content\n  freeze: []\n",
		},
		{
			"restore one of several", restoreEast(),
			"spec:\n  drain:\n  # west\n  - clusterSelector: {matchLabels: {region: us-west}}\n    # still west\n  # east\n  - clusterSelector:\n      matchLabels:\n        region: us-east\n  # eu\n  - clusterSelector: {matchLabels: {region: eu}}\n",
			"spec:\n  drain:\n  # west\n  - clusterSelector: {matchLabels: {region: us-west}}\n    # still west\n  # eu\n  - clusterSelector: {matchLabels: {region: eu}}\n",
		},
		{
			"restore leaves what is commented out", restoreEast(),
			"spec:\n  drain:\n  # - clusterSelector: {matchLabels: {region: us-west}}\n  #   reason: storm\n  - clusterSelector: {matchLabels: {region: us-east}}\n  # - clusterSelector: {}\n",
			"spec:\n  drain: []\n  # - clusterSelector: {matchLabels: {region: us-west}}\n  #   reason: storm\n  # - clusterSelector: {}\n",
		},
		{
			"restore the last line of a file without a line break at its end", restoreEast(),
			"spec:\n  drain:\n  - clusterSelector: {}\n  - clusterSelector: {matchLabels: {region: us-east}}",
			"spec:\n  drain:\n  - clusterSelector: {}",
		},
		{
			"restore the first within brackets", restoreEast(),
			"spec: {drain: [" + eastEntry + ", " + westEntry + "]}\n",
			"spec: {drain: [" + westEntry + "]}\n",
		},
		{
			"restore the last within brackets", restoreEast(),
			"spec: {drain: [" + westEntry + ", " + eastEntry + "]}\n",
			"spec: {drain: [" + westEntry + "]}\n",
		},
		{
			"restore a line within brackets", restoreEast(),
			"spec:\n  drain: [\n    " + westEntry + ", # west\n    # ask Bob\n    " + eastEntry + ", # east\n    # eu\n    {clusterSelector: {matchLabels: {region: eu}}}\n  ]\n",
			"spec:\n  drain: [\n    " + westEntry + ", # west\n    # eu\n    {clusterSelector: {matchLabels: {region: eu}}}\n  ]\n",
		},
		{
			"restore the last line within brackets", restoreEast(),
			"spec:\n  drain: [\n    " + westEntry + ",\n    " + eastEntry + "\n  ]\n",
			"spec:\n  drain: [\n    " + westEntry + "\n  ]\n",
		},
		{
			"restore the only line within brackets", restoreEast(),
			"spec:\n  drain: [\n    " + eastEntry + ",\n  ]\n",
			"spec:\n  drain: [\n  ]\n",
		},
		{
			"restore what is there twice", restoreEast(),
			"spec: {drain: [" + eastEntry + ", " + westEntry + ", " + eastEntry + "]}\n",
			"spec: {drain: [" + westEntry + "]}\n",
		},
		{
			"restore several", Change{Selectors: []labels.Set{east(), {"region": "us-west"}}, Restore: true},
			"spec: {drain: [" + eastEntry + ", " + westEntry + "]}\n",
			"spec: {drain: []}\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, eol := range []string{"\n", "\r\n"} {
				for _, mark := range []string{"", "\ufeff", "---\n# first\n"} {
					whole := func(text string) string { return strings.ReplaceAll(mark+header+text, "\n", eol) }
					edit, err := tt.change.Apply([]byte(whole(tt.before)))
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(whole(tt.after), string(edit.Content)); diff != "" {
						t.Errorf("with %q and %q (-want +got):\n%s", mark, eol, diff)
					}
				}
			}
		})
	}
}

func TestApplyWithoutAFile(t *testing.T) {
	edit, err := drainEast().Apply(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: fleet}\nspec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n"
	if diff := cmp.Diff(want, string(edit.Content)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := restoreEast().Apply(nil); err == nil {
		t.Error("restored what was never drained")
	}
}

// TestApplyRefuses shows what a person has to do by hand, and that the error says where and what.
func TestApplyRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change Change
		file   string
		want   string
	}{
		{
			"drains that are an alias", drainEast(),
			header + "spec:\n  freeze: &all\n  - clusterSelector: {}\n  drain: *all\n",
			"fleet.yaml:7: the drains are an alias of something else in the file; edit it by hand. Below spec, the drain is:\n" +
				"  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: power\n",
		},
		{
			"drains that something else is an alias of", drainEast(),
			header + "spec:\n  drain: &all\n  - clusterSelector: {}\n  freeze: *all\n",
			"fleet.yaml:5: this layout is not one that can be edited without touching more than the drain; edit it by hand.",
		},
		{
			"a drain that is an alias", restoreEast(),
			header + "spec:\n  freeze: [&east {clusterSelector: {matchLabels: {region: us-east}}}]\n  drain:\n  - *east\n",
			"fleet.yaml:7: the drain is an alias of something else in the file; take the entry out by hand",
		},
		{
			"brackets around everything", drainEast(),
			"{apiVersion: holdfast.dev/v1alpha1, kind: Fleet, metadata: {name: acme}}\n",
			"fleet.yaml:1: the file has no spec and is written within brackets; edit it by hand.",
		},
		{
			"a comment in the middle", restoreEast(),
			header + "spec: {drain: [" + eastEntry + ", # east\n  " + westEntry + "]}\n",
			"fleet.yaml:4: there is a comment between the drains of one line; take the entry out by hand",
		},
		{
			"odd line breaks", drainEast(),
			header + "# one\rspec: {}\n",
			"fleet.yaml:4: holds a line break that is neither LF nor CRLF; edit it by hand.",
		},
		{
			"a broken file", drainEast(),
			header + "spec:\n  drian: []\n",
			`fleet.yaml:5: spec.drian: unknown field (did you mean "drain"?)`,
		},
		{
			"nothing but comments", drainEast(),
			"# later\n",
			"fleet.yaml",
		},
		{
			"several documents", drainEast(),
			header + "---\n" + header,
			"holds more than one document",
		},
		{
			"no such drain", restoreEast(),
			header + "spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east, env: prod}}\n    reason: power\n  - clusterSelector: {matchExpressions: [{key: region, operator: In, values: [us-east]}]}\n    force: true\n",
			"fleet.yaml has no drain whose selector is exactly region=us-east; its drains are:\n" +
				"  fleet.yaml:6: {matchLabels: {env: prod, region: us-east}}, reason: power\n" +
				"  fleet.yaml:8: {matchExpressions: [{key: region, operator: In, values: [us-east]}]}, force",
		},
		{
			"no drains at all", restoreEast(),
			header,
			"fleet.yaml drains nothing, so there is no drain of region=us-east to take out",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.change.Apply([]byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestApplySaysWhatIsThereAlready(t *testing.T) {
	edit, err := drainEast().Apply([]byte(header + "spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-east}}\n    reason: flood\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(edit.Already) != 1 || edit.Already[0].String() != "fleet.yaml:6: {matchLabels: {region: us-east}}, reason: flood" {
		t.Errorf("got %v", edit.Already)
	}
}

// FuzzApply drains and restores in any fleet.yaml that decodes. An edit says exactly what it should, or is
// refused; a drain keeps every byte that was there; drain and restore together change no setting.
func FuzzApply(f *testing.F) {
	for _, spec := range []string{
		"", "spec:\n", "spec: {}\n", "spec:\n  drain:\n", "spec:\n  drain: []\n", "spec:\n  drain: [" + westEntry + "]\n",
		"spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: us-west}}\n    reason: |\n      a\n\n      # b\n  # c\n  freeze:\n    - clusterSelector: {}\n",
		"spec:\n  drain: [\n    " + westEntry + ", # c\n    # d\n    " + eastEntry + "\n  ]\n  prune: {permit: [{app: a, until: 2026-12-01}]}",
		"spec:\r\n  drain:\r\n  # a\r\n  - clusterSelector: &x {matchLabels: {region: us-east}}\r\n  -   force: no\r\n      clusterSelector: *x",
	} {
		f.Add(header + spec)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, err := fleet.ParseSettings([]byte(text))
		if err != nil {
			return
		}
		// A label that no file of the corpus has, so that the entry is new.
		change := Change{Selectors: []labels.Set{{"fuzz": "new-entry"}}, Reason: "power", Force: len(text)%2 == 0}
		if len(indexes(before.Spec.Drain, change.Selectors[0])) > 0 {
			return
		}
		drained, err := change.Apply([]byte(text))
		if err != nil {
			if layout := (*LayoutError)(nil); !errors.As(err, &layout) || layout.Do == "" {
				t.Fatalf("refused without a word about what to do: %v", err)
			}
			return
		}
		want := before
		want.Spec.Drain = append(append([]fleet.Drain(nil), before.Spec.Drain...), drained.Settings.Spec.Drain[len(drained.Settings.Spec.Drain)-1])
		if diff := cmp.Diff(want, drained.Settings); diff != "" {
			t.Fatalf("more or less than the drain changed (-want +got):\n%s", diff)
		}
		if !kept(text, string(drained.Content)) {
			t.Fatalf("text was lost:\n%s\n----\n%s", text, drained.Content)
		}
		restored, err := Change{Restore: true, Selectors: change.Selectors}.Apply(drained.Content)
		if err != nil {
			if layout := (*LayoutError)(nil); !errors.As(err, &layout) {
				t.Fatal(err)
			}
			return
		}
		if diff := cmp.Diff(before, restored.Settings); diff != "" {
			t.Fatalf("drain and restore changed settings (-want +got):\n%s", diff)
		}
	})
}

// nothing is what an entry may take the place of.
var nothing = regexp.MustCompile(`(?i)null|~|\s`)

// kept tells whether every letter of a text is still there, in its order.
func kept(before, after string) bool {
	for _, letter := range nothing.ReplaceAllString(before, "") {
		i := strings.IndexRune(after, letter)
		if i < 0 {
			return false
		}
		after = after[i+utf8.RuneLen(letter):]
	}
	return true
}
