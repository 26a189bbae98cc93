package live

import (
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// CheckPointer reports what is wrong with a JSON pointer (RFC 6901) of spec.drift.ignore; nil if
// it can be used. The whole document ("") and identity (/kind, /metadata/name, ...) cannot be ignored.
func CheckPointer(pointer string) error {
	parts, err := split(pointer)
	if err != nil {
		return err
	}
	switch parts[0] {
	case "apiVersion", "kind":
		return fmt.Errorf("%s cannot be ignored: it is part of the object's identity", pointer)
	case "metadata":
		if len(parts) == 1 || parts[1] == "name" || parts[1] == "namespace" {
			return fmt.Errorf("%s cannot be ignored: it is part of the object's identity", pointer)
		}
	}
	return nil
}

// split cuts a pointer into its unescaped parts.
func split(pointer string) ([]string, error) {
	if pointer == "" || pointer[0] != '/' {
		return nil, fmt.Errorf("%q is no JSON pointer: it must start with /", pointer)
	}
	parts := strings.Split(pointer[1:], "/")
	for i, p := range parts {
		for at := range len(p) {
			if p[at] == '~' && (at+1 == len(p) || (p[at+1] != '0' && p[at+1] != '1')) {
				return nil, fmt.Errorf("%q is no JSON pointer: ~ must be written ~0, and / inside a key ~1", pointer)
			}
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

// resolve finds what a pointer means in a live object. A number names an item by its position in the live list; sets
// tell how the server names that item, by its keys, its value or its position. Where there
// is no content, as for a kind that is watched by its metadata, every part is the key of a map. False if
// the pointer is not valid, or names an item that is not there.
func resolve(pointer string, content any, sets []*fieldpath.Set) (fieldpath.Path, bool) {
	parts, err := split(pointer)
	if err != nil || CheckPointer(pointer) != nil {
		return nil, false
	}
	path := make(fieldpath.Path, 0, len(parts))
	for _, part := range parts {
		pe := fieldpath.FieldNameElement(part)
		if list, ok := content.([]any); ok {
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(list) {
				return nil, false
			}
			pe = element(list[i], i, path, sets)
		}
		content, _ = step(content, pe)
		path = append(path, pe)
	}
	return path, true
}

// element is how the server names an item of the list at a path.
func element(item any, i int, at fieldpath.Path, sets []*fieldpath.Set) fieldpath.PathElement {
	found := fieldpath.IndexElement(i)
	for _, set := range sets {
		look := func(pe fieldpath.PathElement) {
			if names(pe, item) {
				found = pe
			}
		}
		node := below(set, at)
		node.Members.Iterate(look)
		node.Children.Iterate(look)
	}
	return found
}

// resolveAll resolves those pointers that mean something in the object.
func resolveAll(pointers []string, content any, sets []*fieldpath.Set) []fieldpath.Path {
	var out []fieldpath.Path
	for _, p := range pointers {
		if path, ok := resolve(p, content, sets); ok {
			out = append(out, path)
		}
	}
	return out
}
