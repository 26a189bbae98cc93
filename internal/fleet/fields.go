package fleet

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// fieldInfo is one field of a struct as a file names it.
type fieldInfo struct {
	index    []int
	required bool
}

var fieldCache sync.Map // reflect.Type to map[string]fieldInfo: a pure function of the type

// fieldsOf lists a struct's fields by their JSON names, those of inlined structs included.
func fieldsOf(t reflect.Type) map[string]fieldInfo {
	if cached, ok := fieldCache.Load(t); ok {
		fields, _ := cached.(map[string]fieldInfo)
		return fields
	}
	fields := map[string]fieldInfo{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous:
			for inner, info := range fieldsOf(f.Type) {
				fields[inner] = fieldInfo{index: slices.Concat(f.Index, info.index), required: info.required}
			}
		default:
			fields[name] = fieldInfo{index: f.Index, required: !strings.Contains(options, "omit")}
		}
	}
	fieldCache.Store(t, fields)
	return fields
}

// required lists the names of the fields that a file must give, sorted.
func required(t reflect.Type) []string {
	var names []string
	for name, info := range fieldsOf(t) {
		if info.required {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
