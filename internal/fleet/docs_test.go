package fleet

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReference holds the user's reference to the code: its examples decode, and it names every field.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("../../docs/fleet-files.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	examples := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for _, doc := range []document{&Settings{}, &Cluster{}, &App{}} {
			if !strings.HasPrefix(block[1], header+"kind: "+doc.kind()+"\n") {
				continue
			}
			examples++
			for _, line := range issues(decode([]byte(block[1]), doc)) {
				t.Errorf("the example of %s: %s", doc.kind(), line)
			}
		}
	}
	if examples != 3 {
		t.Errorf("found %d examples, want one of each kind", examples)
	}
	for _, spec := range []reflect.Type{reflect.TypeFor[SettingsSpec](), reflect.TypeFor[ClusterSpec](), reflect.TypeFor[AppSpec]()} {
		for _, name := range fieldNames(spec) {
			if !regexp.MustCompile("[`.]" + name + "\\b").MatchString(text) {
				t.Errorf("does not say what %s is", name)
			}
		}
	}
}

// fieldNames lists the names of all fields of a type of this package, and of those within them.
func fieldNames(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	leaf := []reflect.Type{reflect.TypeFor[Selector](), reflect.TypeFor[Duration](), reflect.TypeFor[Date]()}
	if t.Kind() != reflect.Struct || slices.Contains(leaf, t) {
		return nil
	}
	var names []string
	for name, info := range fieldsOf(t) {
		names = append(names, name)
		names = append(names, fieldNames(t.FieldByIndex(info.index).Type)...)
	}
	return names
}
