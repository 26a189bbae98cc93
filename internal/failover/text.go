package failover

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

const fileName = "fleet.yaml"

// LayoutError says that a person has to make the edit, and what to write.
type LayoutError struct {
	// Line of the file; 0 = the whole file.
	Line int
	// Why the program does not do it.
	Why string
	// Do says what to do instead.
	Do string
}

// Error names file and line, and says what to write.
func (e *LayoutError) Error() string {
	where := fileName
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", fileName, e.Line)
	}
	return fmt.Sprintf("%s: %s; %s", where, e.Why, e.Do)
}

// byHand says in a LayoutError what to write for an entry.
func byHand(err error, entry fleet.Drain) error {
	var layout *LayoutError
	if errors.As(err, &layout) {
		layout.Do = "edit it by hand. Below spec, the drain is:\n  drain:\n" + blockText(entry, "  ", "\n")
	}
	return err
}

// byHandRemoval says in a LayoutError what to take out.
func byHandRemoval(err error) error {
	var layout *LayoutError
	if errors.As(err, &layout) {
		layout.Do = "take the entry out by hand"
	}
	return err
}

// newFile is a fleet.yaml with nothing but one drain.
func newFile(entry fleet.Drain) string {
	return "apiVersion: " + fleet.APIVersion + "\nkind: " + fleet.KindFleet + "\nmetadata: {name: fleet}\nspec:\n  drain:\n" + blockText(entry, "  ", "\n")
}

// blockText is an entry on lines of its own.
func blockText(d fleet.Drain, indent, eol string) string {
	text := indent + "- clusterSelector: " + selectorText(&d.ClusterSelector) + eol
	if d.Reason != "" {
		text += indent + "  reason: " + scalar(d.Reason) + eol
	}
	if d.Force {
		text += indent + "  force: true" + eol
	}
	return text
}

// flowText is an entry within a line.
func flowText(d fleet.Drain) string {
	text := "{clusterSelector: " + selectorText(&d.ClusterSelector)
	if d.Reason != "" {
		text += ", reason: " + scalar(d.Reason)
	}
	if d.Force {
		text += ", force: true"
	}
	return text + "}"
}

// selectorText is a selector within a line.
func selectorText(s *fleet.Selector) string {
	var parts []string
	if len(s.MatchLabels) > 0 {
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
			pairs = append(pairs, scalar(key)+": "+scalar(s.MatchLabels[key]))
		}
		parts = append(parts, "matchLabels: {"+strings.Join(pairs, ", ")+"}")
	}
	if len(s.MatchExpressions) > 0 {
		var requirements []string
		for i := range s.MatchExpressions {
			requirements = append(requirements, requirementText(&s.MatchExpressions[i]))
		}
		parts = append(parts, "matchExpressions: ["+strings.Join(requirements, ", ")+"]")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func requirementText(r *metav1.LabelSelectorRequirement) string {
	text := "{key: " + scalar(r.Key) + ", operator: " + string(r.Operator)
	if len(r.Values) > 0 {
		values := make([]string, len(r.Values))
		for i, v := range r.Values {
			values[i] = scalar(v)
		}
		text += ", values: [" + strings.Join(values, ", ") + "]"
	}
	return text + "}"
}

var (
	// plainForm is text that needs no quotes anywhere in YAML, if it is not taken for another type.
	plainForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/() -]*[A-Za-z0-9.)])?$`)
	// oldBool is what YAML 1.1 takes for true or false, as other programs that read the file may.
	oldBool = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$`)
)

// scalar writes a string, quoted where it has to be. Go's escapes are a part of YAML's.
func scalar(s string) string {
	var value any
	if plainForm.MatchString(s) && !oldBool.MatchString(s) && yaml.Unmarshal([]byte(s), &value) == nil && value == any(s) {
		return s
	}
	return strconv.Quote(s)
}
