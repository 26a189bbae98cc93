package preview

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aymanbagabas/go-udiff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// texts makes the diffs of objects, each pair of contents once: what several clusters have in common is one
// object in memory, and its diff one string.
type texts struct {
	mu   sync.Mutex
	made map[pair]func() (Object, error)
}

// pair is two contents by their hashes, "" for none.
type pair struct {
	before, after string
	divided       bool
}

func newTexts() *texts { return &texts{made: map[pair]func() (Object, error){}} }

// object compares an object, of which one state may be nil. divided tells that its replicas are a share of the
// app's.
func (t *texts) object(before, after *render.Object, divided bool) (Object, error) {
	var id object.ObjMetadata
	key := pair{divided: divided}
	if before != nil {
		id, key.before = before.ID, before.Hash
	}
	if after != nil {
		id, key.after = after.ID, after.Hash
	}
	t.mu.Lock()
	compare := t.made[key]
	if compare == nil {
		compare = sync.OnceValues(func() (Object, error) { return compareObject(before, after, divided) })
		t.made[key] = compare
	}
	t.mu.Unlock()
	o, err := compare()
	if err != nil {
		return Object{}, fmt.Errorf("compare %s: %w", render.Name(id), err)
	}
	return o, nil
}

func compareObject(before, after *render.Object, divided bool) (o Object, err error) {
	var was, is *unstructured.Unstructured
	o.Action = Configure
	if before == nil {
		o.Action = Create
	} else if was, err = before.Unstructured(); err != nil {
		return o, err
	}
	if after == nil {
		o.ID, o.Action = before.ID, Delete
	} else {
		o.ID = after.ID
		if is, err = after.Unstructured(); err != nil {
			return o, err
		}
	}
	if o.Action == Configure {
		o.Immutable = immutable(o.ID.GroupKind, was.Object, is.Object)
		o.Replace = before.Annotations[live.AnnotationReplace] == "enabled" || after.Annotations[live.AnnotationReplace] == "enabled"
	}
	mask(was, is)
	if o.Diff, err = unified(o, was, is); err != nil {
		return o, err
	}
	o.Content = o.Diff
	if divided && was != nil && is != nil {
		// As if the share had not changed: how replicas move is told of the app as a whole.
		replicas, found, _ := unstructured.NestedFieldNoCopy(is.Object, "spec", "replicas")
		if spec, ok := was.Object["spec"].(map[string]any); ok && found {
			spec["replicas"] = replicas
		}
		o.Content, err = unified(o, was, is)
	}
	return o, err
}

// generated is the suffix by which kustomize gives each content of a ConfigMap or Secret a name of its own.
var generated = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)

// succeed finds the created objects of an app that take the place of deleted ones, and compares them with
// those. objects are sorted by ID.
func (t *texts) succeed(objects []Object, was, is map[object.ObjMetadata]*render.Object) error {
	versions := map[object.ObjMetadata][]int{} // by the id without the suffix
	for i := range objects {
		o := &objects[i]
		if m := generated.FindStringSubmatch(o.ID.Name); m != nil && o.Action != Configure {
			id := liveID(o.ID)
			id.Name = m[1]
			versions[id] = append(versions[id], i)
		}
	}
	for _, same := range versions {
		if len(same) != 2 || objects[same[0]].Action == objects[same[1]].Action {
			continue
		}
		older, newer := &objects[same[0]], &objects[same[1]]
		if older.Action != Delete {
			older, newer = newer, older
		}
		o, err := t.object(was[liveID(older.ID)], is[liveID(newer.ID)], false)
		if err != nil {
			return err
		}
		newer.Content, newer.Was, older.Superseded = o.Diff, render.Name(older.ID), true
	}
	return nil
}

// unified is the unified diff of two states as YAML, with the place in the object at the head of each hunk; ""
// if they are equal.
func unified(o Object, was, is *unstructured.Unstructured) (string, error) {
	old, err := text(was)
	if err != nil {
		return "", err
	}
	fresh, err := text(is)
	if err != nil {
		return "", err
	}
	name := plain.Line(render.Name(o.ID)) // its line must be one
	from, to := "base/"+name, "head/"+name
	if was == nil {
		from = devNull
	}
	if is == nil {
		to = devNull
	}
	u, err := udiff.ToUnifiedDiff(from, to, old, udiff.Lines(old, fresh), udiff.DefaultContextLines)
	if err != nil || was == nil || is == nil {
		return u.String(), err
	}
	lines := strings.Split(old, "\n")
	var b strings.Builder
	hunk := 0
	for line := range strings.Lines(u.String()) {
		if strings.HasPrefix(line, "@@ ") && hunk < len(u.Hunks) {
			h := u.Hunks[hunk]
			hunk++
			first := slices.IndexFunc(h.Lines, func(l udiff.Line) bool { return l.Kind != udiff.Equal })
			line = strings.TrimRight(strings.TrimSuffix(line, "\n")+" "+within(lines, h.FromLine-1+first), " ") + "\n"
		}
		b.WriteString(line)
	}
	return b.String(), nil
}

// within is the path of the fields that line n of an object as YAML is in.
func within(lines []string, n int) string {
	type level struct {
		indent int
		key    string
	}
	var path []level
	block := -1 // how far the key is indented of which the lines that follow are the text
	for i := 0; i < len(lines) && i <= n; i++ {
		rest := strings.TrimLeft(lines[i], " ")
		indent := len(lines[i]) - len(rest)
		if rest == "" || block >= 0 && indent > block {
			continue
		}
		block = -1
		outer := indent // an item of a list is indented as the key that holds the list
		for strings.HasPrefix(rest, "- ") {
			rest, indent, outer = rest[2:], indent+2, indent+1
		}
		for len(path) > 0 && path[len(path)-1].indent >= outer {
			path = path[:len(path)-1]
		}
		key, value, ok := strings.Cut(rest, ":")
		if i < n && ok {
			path = append(path, level{indent, key})
			if value = strings.TrimSpace(value); strings.HasPrefix(value, "|") || strings.HasPrefix(value, ">") {
				block = indent
			}
		}
	}
	keys := make([]string, len(path))
	for i, l := range path {
		keys[i] = l.key
	}
	return strings.Join(keys, ".")
}

// devNull is the file that is not there, as tools that apply a diff know it.
const devNull = "/dev/null"

// text is an object as render.Print writes it, "" for none.
func text(u *unstructured.Unstructured) (string, error) {
	if u == nil {
		return "", nil
	}
	b, err := yaml.Marshal(u.Object)
	return string(bytes.TrimPrefix(b, []byte("---\n"))), err
}

// What stands for the value of a Secret, of which nothing may be told but whether it changes: not even how
// long it is.
const (
	masked    = "***"
	maskedWas = "*** (before)"
	maskedIs  = "*** (after)"
)

// mask replaces what render.Mask masks in both states, in place. Either may be nil.
func mask(was, is *unstructured.Unstructured) {
	var old, fresh map[string]any // as they are masked
	if was != nil {
		old = was.DeepCopy().Object
		render.Mask(old)
	}
	if is != nil {
		fresh = is.DeepCopy().Object
		render.Mask(fresh)
	}
	var before, after map[string]any
	if was != nil {
		before = was.Object
	}
	if is != nil {
		after = is.Object
	}
	maskMaps(before, old, after, fresh)
}

// maskMaps walks two states of a map beside their masked copies, and masks what these have masked.
func maskMaps(was, wasMasked, is, isMasked map[string]any) {
	for key := range wasMasked {
		maskValue(key, was, wasMasked, is, isMasked)
	}
	for key := range isMasked {
		if _, done := wasMasked[key]; !done {
			maskValue(key, was, wasMasked, is, isMasked)
		}
	}
}

func maskValue(key string, was, wasMasked, is, isMasked map[string]any) {
	hidden := !reflect.DeepEqual(was[key], wasMasked[key]) || !reflect.DeepEqual(is[key], isMasked[key])
	if !hidden {
		return
	}
	before, wasMap := was[key].(map[string]any)
	after, isMap := is[key].(map[string]any)
	if wasMap || isMap {
		oldMasked, _ := wasMasked[key].(map[string]any)
		newMasked, _ := isMasked[key].(map[string]any)
		maskMaps(before, oldMasked, after, newMasked)
		return
	}
	old, there := was[key]
	fresh, here := is[key]
	switch {
	case there && here && !reflect.DeepEqual(old, fresh):
		was[key], is[key] = maskedWas, maskedIs
	case there && here:
		was[key], is[key] = masked, masked
	case there:
		was[key] = masked
	case here:
		is[key] = masked
	}
}
