package live

import (
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// step descends one element into decoded JSON; false if there is nothing there.
func step(v any, pe fieldpath.PathElement) (any, bool) {
	switch {
	case pe.FieldName != nil:
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		child, ok := m[*pe.FieldName]
		return child, ok
	default:
		list, i := find(v, pe)
		if i < 0 {
			return nil, false
		}
		return list[i], true
	}
}

// find locates the item of a list that an element names; -1 if there is none.
func find(v any, pe fieldpath.PathElement) ([]any, int) {
	list, ok := v.([]any)
	if !ok {
		return nil, -1
	}
	if pe.Index != nil {
		if *pe.Index < 0 || *pe.Index >= len(list) {
			return list, -1
		}
		return list, *pe.Index
	}
	for i, item := range list {
		if names(pe, item) {
			return list, i
		}
	}
	for i, item := range list {
		if mayName(pe, item) {
			return list, i
		}
	}
	return list, -1
}

// names tells whether a key or value element means that item.
func names(pe fieldpath.PathElement, item any) bool {
	if pe.Key != nil {
		if m, ok := item.(map[string]any); ok {
			for _, f := range *pe.Key {
				if _, ok := m[f.Name]; !ok {
					return false
				}
			}
		}
	}
	return mayName(pe, item)
}

// mayName is names for an item of a manifest, where a part of the key that has a default (the protocol
// of a port) may be missing: it is the same item if the rest of the key is.
func mayName(pe fieldpath.PathElement, item any) bool {
	if pe.Value != nil {
		return scalar(item) && value.Equals(value.NewValueInterface(item), *pe.Value)
	}
	if pe.Key == nil {
		return false
	}
	m, ok := item.(map[string]any)
	if !ok {
		return false
	}
	found := false
	for _, f := range *pe.Key {
		v, ok := m[f.Name]
		if !ok {
			continue
		}
		if !scalar(v) || !value.Equals(value.NewValueInterface(v), f.Value) {
			return false
		}
		found = true
	}
	return found
}

func scalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// get returns the value at a path of decoded JSON.
func get(v any, p fieldpath.Path) (any, bool) {
	for _, pe := range p {
		child, ok := step(v, pe)
		if !ok {
			return nil, false
		}
		v = child
	}
	return v, true
}

// put sets the value at a path, if it has a place. It makes the maps that are missing on the way; lists and items
// only from the element with index from on, since what belongs into an item that is not there has
// no place.
func put(root map[string]any, p fieldpath.Path, v any, from int) {
	if len(p) > 0 {
		putAt(root, p, v, 0, from)
	}
}

// putAt returns the container with the value in it: a list may have become another.
func putAt(at any, p fieldpath.Path, v any, depth, from int) (any, bool) {
	if depth == len(p) {
		return v, true
	}
	pe := p[depth]
	if pe.FieldName != nil {
		m, ok := at.(map[string]any)
		if !ok {
			if at != nil {
				return at, false
			}
			m = map[string]any{}
		}
		child, ok := putAt(m[*pe.FieldName], p, v, depth+1, from)
		if ok {
			m[*pe.FieldName] = child
		}
		return m, ok
	}
	list, i := find(at, pe)
	if i < 0 {
		if depth < from || pe.Key == nil || (list == nil && at != nil) {
			return at, false
		}
		item, ok := putAt(keyFields(pe), p, v, depth+1, from)
		if ok {
			list = append(list, item)
		}
		return list, ok
	}
	item, ok := putAt(list[i], p, v, depth+1, from)
	if ok {
		list[i] = item
	}
	return list, ok
}

// keyFields is an item with nothing but what names it.
func keyFields(pe fieldpath.PathElement) map[string]any {
	item := map[string]any{}
	if pe.Key != nil {
		for _, f := range *pe.Key {
			item[f.Name] = f.Value.Unstructured()
		}
	}
	return item
}

// remove deletes what is at a path, and the maps that become empty by it: an empty map in an apply
// would be a claim of its own. An item is removed from its list.
func remove(root map[string]any, p fieldpath.Path) {
	if len(p) == 0 {
		return
	}
	parent, ok := get(root, p[:len(p)-1])
	if !ok {
		return
	}
	last := p[len(p)-1]
	if last.FieldName != nil {
		m, ok := parent.(map[string]any)
		if !ok {
			return
		}
		if _, ok := m[*last.FieldName]; !ok {
			return
		}
		delete(m, *last.FieldName)
		if len(m) == 0 && len(p) > 1 && p[len(p)-2].FieldName != nil {
			remove(root, p[:len(p)-1])
		}
		return
	}
	list, i := find(parent, last)
	if i < 0 {
		return
	}
	shorter := append(append(make([]any, 0, len(list)-1), list[:i]...), list[i+1:]...)
	put(root, p[:len(p)-1], shorter, len(p))
}

// foreignMaps are maps that everybody writes into by design. Owning one as a whole (a manifest with
// `annotations: {}`) is no claim to what others put there.
var foreignMaps = []fieldpath.Path{
	fieldpath.MakePathOrDie("metadata", "labels"),
	fieldpath.MakePathOrDie("metadata", "annotations"),
}

func isForeignMap(p fieldpath.Path) bool {
	return p.Equals(foreignMaps[0]) || p.Equals(foreignMaps[1])
}

// hashValues writes the live values at the fields of a set into h, and the order of the set's
// items in each keyed list. Ignored values are left out.
func hashValues(h hash.Hash, set *fieldpath.Set, live any, ignored []fieldpath.Path) {
	(&walker{h: h, ignored: ignored}).walk(set, live)
}

// walker is on its way through a set: at and text are where, the latter as the server writes paths.
type walker struct {
	h       hash.Hash
	ignored []fieldpath.Path
	at      fieldpath.Path
	text    string
}

// step calls f one element further on.
func (w *walker) step(pe fieldpath.PathElement, f func()) {
	at, text := w.at, w.text
	w.at, w.text = append(w.at, pe), text+pe.String()
	f()
	w.at, w.text = at, text
}

func (w *walker) walk(set *fieldpath.Set, live any) {
	w.order(set, live)
	set.Members.Iterate(func(pe fieldpath.PathElement) {
		if _, inner := set.Children.Get(pe); inner {
			return // its parts are owned one by one
		}
		w.step(pe, func() {
			if covered(w.at, w.ignored) || isForeignMap(w.at) {
				return
			}
			v, ok := step(live, pe)
			w.value(v, ok)
		})
	})
	set.Children.Iterate(func(pe fieldpath.PathElement) {
		w.step(pe, func() {
			if covered(w.at, w.ignored) {
				return
			}
			v, _ := step(live, pe)
			w.walk(set.WithPrefix(pe), v)
		})
	})
}

// order writes in which order the items that the set names stand in the live list. Others' items
// between them do not matter.
func (w *walker) order(set *fieldpath.Set, live any) {
	list, ok := live.([]any)
	if !ok {
		return
	}
	var keys []fieldpath.PathElement
	collect := func(pe fieldpath.PathElement) {
		if pe.Key != nil && !covered(append(w.at.Copy(), pe), w.ignored) {
			keys = append(keys, pe)
		}
	}
	set.Members.Iterate(collect)
	set.Children.Iterate(func(pe fieldpath.PathElement) {
		if !set.Members.Has(pe) {
			collect(pe)
		}
	})
	if len(keys) < 2 {
		return
	}
	for _, item := range list {
		for _, pe := range keys {
			if names(pe, item) {
				w.write("order ", w.text, pe.String(), "\n")
				break
			}
		}
	}
}

func (w *walker) value(v any, present bool) {
	if !present {
		w.write("none ", w.text, "\n")
		return
	}
	for _, q := range w.ignored {
		if within(q, w.at) && len(q) > len(w.at) {
			v = blank(v, q[len(w.at):])
		}
	}
	// Maps are encoded with their keys sorted, so equal values have equal text.
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte(fmt.Sprintf("%v", v)) // decoded JSON always encodes
	}
	w.write("value ", w.text, " ", string(text), "\n")
}

func (w *walker) write(parts ...string) {
	for _, s := range parts {
		_, _ = io.WriteString(w.h, s) // a hash never fails to write
	}
}

// blank returns a copy of a value in which the one at the path is null.
func blank(v any, p fieldpath.Path) any {
	if _, ok := get(v, p); !ok {
		return v
	}
	box := map[string]any{"v": runtime.DeepCopyJSONValue(v)}
	put(box, append(fieldpath.MakePathOrDie("v"), p...), nil, len(p)+1)
	return box["v"]
}
