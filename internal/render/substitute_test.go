package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

func TestSubstitute(t *testing.T) {
	vars := newVariables(fleet.Facts{
		Name:   "us-1",
		Labels: map[string]string{"region": "us", "a.b": "1", "a-b": "2", "topology.kubernetes.io/zone": "z"},
		Vars: map[string]string{
			"n": "3", "neg": "-4", "f": "1.50", "b": "true", "word": "yes", "null": "null", "empty": "", "list": "[a, b]",
			"inject": "x\nevil: true", "colon": "a: b", "quote": `"q"`, "space": " 3", "hex": "0x10", "date": "2021-01-01",
			"nested": "${n}", "big": "12345678901234567890123",
		},
	})
	spec := func(v any) map[string]any { return map[string]any{"spec": v} }
	for name, tc := range map[string]struct {
		in, want map[string]any
		faults   []string
	}{
		"number":         {in: spec("${n}"), want: spec(int64(3))},
		"negative":       {in: spec("${neg}"), want: spec(int64(-4))},
		"float":          {in: spec("${f}"), want: spec(1.5)},
		"bool":           {in: spec("${b}"), want: spec(true)},
		"hex":            {in: spec("${hex}"), want: spec(int64(16))},
		"not YAML 1.1":   {in: spec("${word}"), want: spec("yes")},
		"null":           {in: spec("${null}"), want: spec("null")},
		"empty":          {in: spec("${empty}"), want: spec("")},
		"date":           {in: spec("${date}"), want: spec("2021-01-01")},
		"no list":        {in: spec("${list}"), want: spec("[a, b]")},
		"no injection":   {in: spec("${inject}"), want: spec("x\nevil: true")},
		"no map":         {in: spec("${colon}"), want: spec("a: b")},
		"quotes":         {in: spec("${quote}"), want: spec(`"q"`)},
		"space":          {in: spec("${space}"), want: spec(" 3")},
		"once":           {in: spec("${nested}"), want: spec("${n}")},
		"part":           {in: spec("a-${n}"), want: spec("a-3")},
		"two":            {in: spec("${n}${n}"), want: spec("33")},
		"cluster":        {in: spec("${CLUSTER_NAME}/${CLUSTER_LABEL_REGION}"), want: spec("us-1/us")},
		"label":          {in: spec("${CLUSTER_LABEL_TOPOLOGY_KUBERNETES_IO_ZONE}"), want: spec("z")},
		"default":        {in: spec("${nope:-7}"), want: spec(int64(7))},
		"default of set": {in: spec("${n:-7}"), want: spec(int64(3))},
		"escape":         {in: spec("$${n}"), want: spec("${n}")},
		"dollars":        {in: spec("$$ $(n) $n"), want: spec("$$ $(n) $n")},
		"keys":           {in: spec(map[string]any{"k-${n}": "v"}), want: spec(map[string]any{"k-3": "v"})},
		"list":           {in: spec([]any{"${n}", map[string]any{"x": "${n}"}}), want: spec([]any{int64(3), map[string]any{"x": int64(3)}})},
		"env":            {in: spec(map[string]any{"env": []any{map[string]any{"name": "A", "value": "${n}"}}}), want: spec(map[string]any{"env": []any{map[string]any{"name": "A", "value": "3"}}})},
		"args":           {in: spec(map[string]any{"args": []any{"${n}"}}), want: spec(map[string]any{"args": []any{"3"}})},
		"labels":         {in: map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "${n}"}}}, want: map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "3"}}}},
		"ConfigMap":      {in: map[string]any{"kind": "ConfigMap", "data": map[string]any{"a": "${n}"}}, want: map[string]any{"kind": "ConfigMap", "data": map[string]any{"a": "3"}}},
		"numbers stay":   {in: spec(int64(7)), want: spec(int64(7))},
		"undefined":      {in: spec("${nope}"), faults: []string{"substitute: undefined variable nope; $${x} escapes"}},
		"undefined, all": {in: spec([]any{"${b2} ${a2}", "${a2:-x} ${c2}"}), faults: []string{"substitute: undefined variable a2, b2, c2; $${x} escapes"}},
		"ambiguous":      {in: spec("${CLUSTER_LABEL_A_B}"), faults: []string{`substitute: variable "CLUSTER_LABEL_A_B": two labels of the cluster have this name`}},
		"bad expression": {in: spec("${n"), faults: []string{"substitute: missing closing brace; $${x} escapes"}},
		"case":           {in: spec("${N}"), faults: []string{"substitute: undefined variable N; $${x} escapes"}},
	} {
		t.Run(name, func(t *testing.T) {
			faults := vars.substitute(tc.in)
			if diff := cmp.Diff(tc.faults, faults); diff != "" {
				t.Error(diff)
			}
			if tc.want != nil {
				if diff := cmp.Diff(tc.want, tc.in); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// FuzzPrepare: whatever an object is, preparing it neither panics nor loses it: it comes out, or an
// error does; and what comes out is canonical and stays the same when it goes in again.
func FuzzPrepare(f *testing.F) {
	f.Add([]byte(configMap))
	f.Add([]byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a, labels: {b: 1}}\nstringData: {a: '${n}'}\ndata: {b: aGk=}\nstatus: {}\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: [x]}]\n"))
	f.Add([]byte("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:x', namespace: y}\naggregationRule: {}\nrules: []\n"))
	f.Add([]byte("apiVersion: a/b/c\nkind: K\nmetadata: {name: ../x, namespace: [1]}\n"))
	f.Add([]byte("{1: 2, .inf: x, [a]: b, !!binary aGk=: ~}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 || checkAliases(b) != nil {
			return
		}
		nodes, err := parseAll(b)
		if err != nil {
			return
		}
		req := Request{
			App:   &fleet.App{Metadata: fleet.Metadata{Name: "web"}, Spec: fleet.AppSpec{Substitute: true}},
			Facts: fleet.Facts{Name: "c", Vars: map[string]string{"n": "1"}},
		}
		s, err := prepare(nodes, req)
		if err != nil {
			return
		}
		var res Result
		if err := s.encode(req, nil, &res); err != nil {
			t.Fatal(err)
		}
		req.App.Spec.Substitute = false
		for _, o := range res.Objects {
			again, err := parseAll(o.JSON)
			if err != nil {
				if strings.Contains(err.Error(), "control characters") {
					continue // JSON has more characters than YAML
				}
				t.Fatal(err)
			}
			s, err := prepare(again, req)
			if err != nil || len(s.objects)+len(s.errors) != 1 {
				t.Fatalf("%s: %v", o.JSON, err)
			}
		}
	})
}
