package agent

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// manyApps is a fleet of one cluster and apps of four objects each.
func manyApps(apps int) *memTree {
	files := map[string]string{"clusters/c1/cluster.yaml": header + "kind: Cluster\nmetadata: {name: c1}\n"}
	for i := range apps {
		name := fmt.Sprintf("app-%04d", i)
		maps.Copy(files, map[string]string{
			"apps/" + name + "/app.yaml":           appFile(name, "namespace: "+name),
			"apps/" + name + "/kustomization.yaml": "resources: [config.yaml, account.yaml, service.yaml, web.yaml]\n",
			"apps/" + name + "/config.yaml":        configYAML("0"),
			"apps/" + name + "/account.yaml":       "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n",
			"apps/" + name + "/service.yaml":       "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n",
			"apps/" + name + "/web.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 0\n" +
				"  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: web:1}]}\n",
		})
	}
	return newTree(files)
}

func configYAML(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {key: \"" + value + "\"}\n"
}

// One object changes in one of many apps: how long the commit takes to become what the engine is given, of
// which load and render are reported apart.
func BenchmarkCompileOneApp(b *testing.B) {
	for _, apps := range []int{250, 2500} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			t := manyApps(apps)
			c := testCompiler(map[string]tree.Tree{})
			stages := map[string]time.Duration{}
			c.stage = func(stage string, d time.Duration) { stages[stage] += d }
			last, err := c.compile(b.Context(), request{commit: "0", tree: t})
			if err != nil {
				b.Fatal(err)
			}
			clear(stages)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				t = t.with(map[string]string{"apps/app-0007/config.yaml": configYAML(fmt.Sprint(i))})
				r := request{commit: fmt.Sprint(i), tree: t, good: last.commit, apps: map[string]known{}, records: last.records}
				for name, a := range last.apps {
					r.apps[name] = known{adopted: a.adopted, defined: a.defined, ready: true, present: true}
				}
				b.StartTimer()
				if last, err = c.compile(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
			for stage, d := range stages {
				b.ReportMetric(float64(d.Nanoseconds())/float64(b.N), stage+"-ns/op")
			}
		})
	}
}
