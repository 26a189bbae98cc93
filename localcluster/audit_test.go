package localcluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func event(stage, id, verb string) string {
	return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"` + stage + `","auditID":"` + id + `","verb":"` + verb + `"}`
}

func TestAuditReader(t *testing.T) {
	for _, test := range []struct {
		name  string
		parts []string // appended one after the other, each followed by a read
		want  string   // the verbs
	}{
		{"none", []string{""}, ""},
		{"one", []string{event("ResponseComplete", "1", "get") + "\n"}, "get"},
		{"half a line", []string{event("ResponseComplete", "1", "get")[:20], event("ResponseComplete", "1", "get")[20:] + "\n"}, "get"},
		{"a watch counts once", []string{
			event("ResponseStarted", "1", "watch") + "\n",
			event("ResponseComplete", "2", "get") + "\n" + event("ResponseComplete", "1", "watch") + "\n",
		}, "watch get"},
		{"a refused watch counts too", []string{event("ResponseComplete", "1", "watch") + "\n"}, "watch"},
		{"an event cut short by SIGKILL", []string{
			event("ResponseComplete", "1", "get")[:60] + event("ResponseComplete", "2", "list") + "\n",
		}, "list"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := auditReader{path: filepath.Join(t.TempDir(), "audit.log")}
			if all, err := a.read(); err != nil || len(all) != 0 {
				t.Fatalf("before the first request: %v, %v", all, err)
			}
			var content string
			var verbs []string
			for _, part := range test.parts {
				content += part
				if err := os.WriteFile(a.path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				all, err := a.read()
				if err != nil {
					t.Fatal(err)
				}
				verbs = verbs[:0]
				for _, r := range all {
					verbs = append(verbs, r.Verb)
				}
			}
			if got := strings.Join(verbs, " "); got != test.want {
				t.Errorf("requests %q, want %q", got, test.want)
			}
		})
	}
}
