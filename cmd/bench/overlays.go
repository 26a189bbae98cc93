package main

import (
	"fmt"
	"strings"
)

// overlayFleet are the files of a fleet for rendering: apps with a base of four objects and two overlays, which
// is eleven files of kustomize each, and clusters in turn in prod and staging. Every tenth app substitutes
// cluster facts, so that no two clusters share what it renders.
func overlayFleet(apps, clusters int) map[string]string {
	files := map[string]string{}
	for i := range clusters {
		env := []string{"prod", "staging"}[i%2]
		files[fmt.Sprintf("clusters/%s/cluster.yaml", overlayCluster(i))] = fmt.Sprintf(
			"apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: %s, labels: {env: %s, region: region-%d}}\n", overlayCluster(i), env, i%5)
	}
	for i := range apps {
		name, ns, dir := appName(i), appNamespace(i), appDir(i)
		spec := "  overlays:\n  - {clusterSelector: {matchLabels: {env: prod}}, path: overlays/prod}\n  - {path: overlays/staging}\n"
		value := "hello"
		if i%10 == 0 {
			spec += "  substitute: true\n"
			value = "hello from ${CLUSTER_NAME}"
		}
		files[dir+"/app.yaml"] = fmt.Sprintf("apiVersion: holdfast.dev/v1alpha1\nkind: App\nmetadata: {name: %s}\nspec:\n%s", name, spec)
		files[dir+"/base/kustomization.yaml"] = "resources: [configmap.yaml, deployment.yaml, service.yaml, serviceaccount.yaml]\n"
		files[dir+"/base/configmap.yaml"] = configMap(i, value)
		files[dir+"/base/deployment.yaml"] = deployment(name, ns)
		for f, content := range others(i) {
			files[dir+"/base/"+f] = content
		}
		for replicas, env := range []string{"staging", "prod"} {
			overlay := dir + "/overlays/" + env
			files[overlay+"/kustomization.yaml"] = fmt.Sprintf("resources: [../../base]\nlabels:\n- pairs: {env: %s}\n"+
				"patches:\n- path: replicas.yaml\n- path: settings.yaml\nimages:\n- {name: registry.example.com/team/%s, newTag: 1.5.%d}\n", env, name, replicas)
			files[overlay+"/replicas.yaml"] = fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: %s}\nspec: {replicas: %d}\n", name, ns, replicas+1)
			files[overlay+"/settings.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {log.level: %s}\n", name, ns, env)
		}
	}
	return files
}

func overlayCluster(i int) string { return fmt.Sprintf("cluster-%02d", i) }

// plainFleet are the files of a fleet with one app of many objects, ten in a file, that only lists them.
func plainFleet(objects int) map[string]string {
	files := map[string]string{
		"clusters/bench/cluster.yaml": "apiVersion: holdfast.dev/v1alpha1\nkind: Cluster\nmetadata: {name: bench, labels: {env: prod}}\n",
		"apps/large/app.yaml":         "apiVersion: holdfast.dev/v1alpha1\nkind: App\nmetadata: {name: large}\n",
	}
	var list strings.Builder
	for i := 0; i < objects; i += 10 {
		var b strings.Builder
		for j := i; j < min(i+10, objects); j++ {
			b.WriteString("---\n" + deployment(appName(j), appNamespace(j)))
		}
		name := fmt.Sprintf("part-%04d.yaml", i/10)
		files["apps/large/"+name] = b.String()
		list.WriteString("- " + name + "\n")
	}
	files["apps/large/kustomization.yaml"] = "resources:\n" + list.String()
	return files
}
