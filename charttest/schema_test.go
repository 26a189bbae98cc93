package charttest

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestValuesAreRefused holds that a mistake in the values is told before anything reaches a cluster.
func TestValuesAreRefused(t *testing.T) {
	const minimal = "cluster: {name: a}\nrepository: {url: https://git.example.com/fleet.git}\n"
	for _, test := range []struct {
		name, values string
		want         string // part of the error
	}{
		{"nothing", "{}", "/cluster/name"},
		{"no cluster", "repository: {url: https://git.example.com/fleet.git}", "/cluster/name"},
		{"no repository", "cluster: {name: a}", "/repository/url"},
		{"cluster name in capitals", "cluster: {name: US-East}\nrepository: {url: https://git.example.com/fleet.git}", "/cluster/name"},
		{"cluster name too long", "cluster: {name: " + strings.Repeat("a", 56) + "}\nrepository: {url: https://git.example.com/fleet.git}", "/cluster/name"},
		{"not a URL", "cluster: {name: a}\nrepository: {url: git.example.com/fleet}", "/repository/url"},
		{"password in the URL", "cluster: {name: a}\nrepository: {url: 'https://me:secret@git.example.com/fleet.git'}", "/repository/url"},
		{"path out of the repository", "cluster: {name: a}\nrepository: {url: https://git.example.com/fleet.git, path: ../other}", "/repository/path"},
		{"poll without a unit", "cluster: {name: a}\nrepository: {url: https://git.example.com/fleet.git, poll: 15}", "/repository/poll"},
		{"unknown value", minimal + "replicaCount: 2", "replicaCount"},
		{"unknown nested value", minimal + "image: {name: x}", "name"},
		{"unknown log format", minimal + "logFormat: xml", "/logFormat"},
		{"unknown RBAC mode", minimal + "rbac: {mode: admin}", "/rbac/mode"},
		{"rule without verbs", minimal + "rbac: {mode: rules, rules: [{apiGroups: [apps], resources: [deployments]}]}", "verbs"},
		{"misspelt rule", minimal + "rbac: {mode: rules, rules: [{apiGroup: [apps], resources: [deployments], verbs: [get]}]}", "apiGroup"},
		{"rules mode without rules", minimal + "rbac: {mode: rules}", "rbac.rules is empty"},
		{"rules without rules mode", minimal + "rbac: {rules: [{apiGroups: [apps], resources: [deployments], verbs: [get]}]}", "rbac.rules has no effect"},
		{"bad digest", minimal + "image: {digest: latest}", "/image/digest"},
		{"bad quantity", minimal + "resources: {limits: {memory: 512 MB}}", "/resources/limits/memory"},
		{"setting of the chart in the config file", minimal + "config: {cluster: b}", "'cluster'"},
		{"unknown log level", minimal + "logLevel: loud", "/logLevel"},
		{"ServiceAccount without a name", minimal + "serviceAccount: {create: false}", "serviceAccount.name is needed"},
		{"number as an annotation", minimal + "podAnnotations: {a: 1}", "/podAnnotations/a"},
		{"argument without a dash", minimal + "extraArgs: [debug]", "/extraArgs/0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var values map[string]any
			if err := yaml.Unmarshal([]byte(test.values), &values); err != nil {
				t.Fatal(err)
			}
			_, _, err := Render(chart, values)
			if err == nil {
				t.Fatal("rendered without an error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not name %q", err, test.want)
			}
			if strings.Contains(test.values, "secret@") && strings.Contains(err.Error(), "secret@") {
				t.Errorf("error shows the password: %q", err)
			}
		})
	}
	var values map[string]any
	if err := yaml.Unmarshal([]byte(minimal), &values); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Render(chart, values); err != nil {
		t.Errorf("the values that the cases start from are refused: %v", err)
	}
}
