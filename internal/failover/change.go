package failover

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// Change is what is to be done to spec.drain of a fleet.yaml.
type Change struct {
	// Restore takes entries out; else they are put in.
	Restore bool
	// Selectors are the matchLabels of the entries, one set for each entry.
	Selectors []labels.Set
	// Reason is put into new entries; "" for none. A restore leaves it to the commit's message.
	Reason string
	// Force is put into new entries, and into those that are there already.
	Force bool
}

// String is the change in words: drain region=us-east.
func (c Change) String() string {
	verb := "drain"
	if c.Restore {
		verb = "restore"
	}
	sets := make([]string, len(c.Selectors))
	for i, s := range c.Selectors {
		sets[i] = s.String()
	}
	return verb + " " + strings.Join(sets, " and ")
}

// selects tells whether the change is about a cluster with these labels.
func (c Change) selects(cluster labels.Set) bool {
	return slices.ContainsFunc(c.Selectors, func(s labels.Set) bool { return s.AsSelector().Matches(cluster) })
}

// Entry is one drain of a fleet.yaml.
type Entry struct {
	fleet.Drain

	// Line on which it begins.
	Line int
}

// String shows the entry as a person would look it up: fleet.yaml:7: {matchLabels: {region: us-east}}, reason: power.
func (e Entry) String() string {
	text := fmt.Sprintf("%s:%d: %s", fileName, e.Line, selectorText(&e.ClusterSelector))
	if e.Reason != "" {
		text += ", reason: " + e.Reason
	}
	if e.Force {
		text += ", force"
	}
	return text
}

// Edit is a fleet.yaml as a Change leaves it.
type Edit struct {
	// Content of the file. Without a change it is what was given.
	Content []byte
	// Settings are those that Content holds.
	Settings fleet.Settings
	// Already lists what the change asks for and was there before.
	Already []Entry
}

// NoDrainError is returned when there is no entry to take out.
type NoDrainError struct {
	// Selector is what was looked for.
	Selector labels.Set
	// Entries are those that there are.
	Entries []Entry
}

// Error lists the drains that there are.
func (e *NoDrainError) Error() string {
	if len(e.Entries) == 0 {
		return fmt.Sprintf("%s drains nothing, so there is no drain of %s to take out", fileName, e.Selector)
	}
	lines := make([]string, len(e.Entries))
	for i, entry := range e.Entries {
		lines[i] = "  " + entry.String()
	}
	return fmt.Sprintf("%s has no drain whose selector is exactly %s; its drains are:\n%s", fileName, e.Selector, strings.Join(lines, "\n"))
}

// Apply edits the content of a fleet.yaml; nil is a file that is not there. It returns a
// *fleet.BrokenError for a file that does not decode, a *NoDrainError where there is nothing to take
// out, and a *LayoutError where a person has to make the edit.
func (c Change) Apply(content []byte) (*Edit, error) {
	edit := &Edit{Content: content}
	if content != nil {
		var err error
		if edit.Settings, err = fleet.ParseSettings(content); err != nil {
			return nil, err
		}
	}
	for _, selector := range c.Selectors {
		var err error
		if c.Restore {
			err = edit.restore(selector)
		} else {
			err = edit.drain(selector, c.Reason, c.Force)
		}
		if err != nil {
			return nil, err
		}
	}
	return edit, nil
}

// drain puts one entry in, or forces the one that is there.
func (e *Edit) drain(selector labels.Set, reason string, force bool) error {
	entry := fleet.Drain{
		ClusterSelector: fleet.Selector{LabelSelector: metav1.LabelSelector{MatchLabels: maps.Clone(selector)}},
		Reason:          reason, Force: force,
	}
	if e.Content == nil {
		want := fleet.Settings{
			TypeMeta: fleet.TypeMeta{APIVersion: fleet.APIVersion, Kind: fleet.KindFleet},
			Metadata: fleet.Metadata{Name: "fleet"},
			Spec:     fleet.SettingsSpec{Drain: []fleet.Drain{entry}},
		}
		return e.accept(newFile(entry), want, 0, entry)
	}
	f, err := parse(e.Content)
	if err != nil {
		return byHand(err, entry)
	}
	drains := slices.Clone(e.Settings.Spec.Drain)
	same := indexes(drains, selector)
	if len(same) > 0 {
		forced := slices.IndexFunc(drains, func(d fleet.Drain) bool { return d.Force && exactly(&d.ClusterSelector, selector) })
		if !force || forced >= 0 {
			i := same[0]
			if forced >= 0 {
				i = forced // the one that counts
			}
			e.Already = append(e.Already, Entry{Drain: drains[i], Line: f.entryLine(i)})
			return nil
		}
		i := same[0]
		drains[i].Force = true
		text, err := f.force(i)
		if err != nil {
			return byHand(err, drains[i])
		}
		return e.accept(text, e.with(drains), f.entryLine(i), drains[i])
	}
	text, err := f.add(entry)
	if err != nil {
		return byHand(err, entry)
	}
	return e.accept(text, e.with(append(drains, entry)), f.drainLine(), entry)
}

// restore takes out every entry with exactly that selector.
func (e *Edit) restore(selector labels.Set) error {
	drains := slices.Clone(e.Settings.Spec.Drain)
	found := indexes(drains, selector)
	if len(found) == 0 {
		missing := &NoDrainError{Selector: selector}
		if e.Content == nil {
			return missing
		}
		f, err := parse(e.Content)
		for i := range drains {
			entry := Entry{Drain: drains[i]}
			if err == nil {
				entry.Line = f.entryLine(i)
			}
			missing.Entries = append(missing.Entries, entry)
		}
		return missing
	}
	// From the last to the first, so that those before it keep their place.
	slices.Reverse(found)
	for _, i := range found {
		f, err := parse(e.Content)
		if err != nil {
			return byHandRemoval(err)
		}
		text, err := f.remove(i)
		if err != nil {
			return byHandRemoval(err)
		}
		line := f.entryLine(i)
		drains = slices.Delete(drains, i, i+1)
		if err := e.check(text, e.with(drains), line); err != nil {
			return byHandRemoval(err)
		}
	}
	return nil
}

// with returns the settings with other drains.
func (e *Edit) with(drains []fleet.Drain) fleet.Settings {
	s := e.Settings
	s.Spec.Drain = slices.Clone(drains)
	if len(drains) == 0 {
		s.Spec.Drain = nil
	}
	return s
}

// accept takes the new text if it says what is wanted; else the error says what to write for entry.
func (e *Edit) accept(text string, want fleet.Settings, line int, entry fleet.Drain) error {
	return byHand(e.check(text, want, line), entry)
}

// check takes the new text if it decodes to exactly the settings that are wanted.
func (e *Edit) check(text string, want fleet.Settings, line int) error {
	got, err := fleet.ParseSettings([]byte(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		return &LayoutError{Line: line, Why: "this layout is not one that can be edited without touching more than the drain"}
	}
	e.Content, e.Settings = []byte(text), got
	return nil
}

// indexes lists the drains with exactly that selector.
func indexes(drains []fleet.Drain, selector labels.Set) (found []int) {
	for i := range drains {
		if exactly(&drains[i].ClusterSelector, selector) {
			found = append(found, i)
		}
	}
	return found
}

// exactly tells whether a selector consists of these labels and nothing else.
func exactly(s *fleet.Selector, want labels.Set) bool {
	return len(s.MatchExpressions) == 0 && maps.Equal(s.MatchLabels, want)
}
