package fleet

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:generate go test -run TestSchemas -update .

var update = flag.Bool("update", false, "write the JSON Schemas anew")

// schemaDir is where editors find the schemas.
const schemaDir = "../../docs/schemas"

// TestSchemas generates the JSON Schemas from the Go types and their comments, and holds the files to them.
func TestSchemas(t *testing.T) {
	for _, doc := range []document{&Settings{}, &Cluster{}, &App{}} {
		t.Run(doc.kind(), func(t *testing.T) {
			got := schemaOf(t, doc)
			file := filepath.Join(schemaDir, strings.ToLower(doc.kind())+".schema.json")
			if *update {
				if err := os.MkdirAll(schemaDir, 0o755); err != nil { //nolint:gosec // documentation
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // documentation
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file) //nolint:gosec // a path of ours
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s is stale; run go generate ./internal/fleet (-file +types):\n%s", file, diff)
			}
		})
	}
}

// schemaOf generates one kind's schema.
func schemaOf(t *testing.T, doc document) string {
	t.Helper()
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, Mapper: scalarSchema}
	if err := r.AddGoComments("github.com/holdfast-dev/holdfast/internal/fleet", "./", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	for key, comment := range r.CommentMap {
		r.CommentMap[key] = prose(key[strings.LastIndex(key, ".")+1:], comment)
	}
	const upstream = "k8s.io/apimachinery/pkg/apis/meta/v1.LabelSelector"
	r.CommentMap[upstream+".MatchLabels"] = "Labels and their values, all of which the cluster must have."
	r.CommentMap[upstream+".MatchExpressions"] = "Requirements, all of which the cluster must meet, matchLabels included."
	r.CommentMap[upstream+"Requirement.Key"] = "The label that the requirement is about."
	r.CommentMap[upstream+"Requirement.Operator"] = "In and NotIn need values; Exists and DoesNotExist must have none. NotIn also holds without the label."
	r.CommentMap[upstream+"Requirement.Values"] = "The values for In and NotIn."

	s := r.Reflect(doc)
	s.Title = "Holdfast " + doc.kind()
	setConst(t, s, "apiVersion", APIVersion)
	setConst(t, s, "kind", doc.kind())
	if fields, ok := s.Definitions["DriftIgnore"]; ok {
		list, _ := fields.Properties.Get("fields")
		list.Items.Pattern = pointerForm.String()
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(s); err != nil {
		t.Fatal(err)
	}
	// The schema marshals itself and escapes on the way.
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(out.String())
}

func setConst(t *testing.T, s *jsonschema.Schema, property, value string) {
	t.Helper()
	p, ok := s.Properties.Get(property)
	if !ok {
		t.Fatalf("the schema has no %s", property)
	}
	p.Const = value
}

// scalarSchema describes the types that are strings in a file.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	if enum, ok := reflect.Zero(t).Interface().(enumerated); ok {
		return enumSchema(enum.values())
	}
	switch t {
	case reflect.TypeFor[metav1.LabelSelectorOperator]():
		return enumSchema([]string{"In", "NotIn", "Exists", "DoesNotExist"})
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern}
	case reflect.TypeFor[Date]():
		return &jsonschema.Schema{Type: "string", Pattern: datePattern}
	}
	return nil
}

func enumSchema(values []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
}

// prose turns a Go comment into a description: on one line, without the Go name that it begins with.
func prose(name, comment string) string {
	text := oneLine(comment)
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(text, name+verb); ok {
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return text
}
