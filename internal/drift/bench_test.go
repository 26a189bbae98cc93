package drift

import (
	"encoding/json"
	"testing"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/kube"
)

// deployment is a Deployment as an API server sends it.
const deployment = `{"apiVersion": "apps/v1", "kind": "Deployment",
"metadata": {"name": "web", "namespace": "shop", "uid": "0b3f7c0e-7f0c-4a51-9a3e-0d1e6f1f2a11", "resourceVersion": "812", "generation": 1,
  "labels": {"holdfast.dev/instance": "holdfast-system", "holdfast.dev/app": "web"},
  "managedFields": [{"manager": "holdfast", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "time": "2026-11-21T10:00:00Z",
    "fieldsV1": {"f:metadata": {"f:labels": {"f:holdfast.dev/app": {}, "f:holdfast.dev/instance": {}}}, "f:spec": {"f:replicas": {}, "f:selector": {},
      "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {},
      "f:ports": {"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}}}}}}}}}},
   {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "time": "2026-11-21T10:00:01Z",
    "fieldsV1": {"f:status": {"f:observedGeneration": {}, "f:replicas": {}, "f:conditions": {".": {}}}}}]},
"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
  {"name": "web", "image": "registry.example.com/web:1.2.3", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]}}},
"status": {"observedGeneration": 1}}`

// BenchmarkObserve is what each object that a watch brings is put through.
func BenchmarkObserve(b *testing.B) {
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	w := NewWatcher(Options{Instance: "holdfast-system", Manager: "holdfast", Log: zerolog.Nop(), Ignore: func(object.ObjMetadata) []string { return nil }})
	s := newSource(&w.opts, kube.Resource{GroupVersionKind: gvk, Plural: "deployments", Watchable: true}, w.events, func() {})
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(deployment), &u.Object); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		o, err := s.observe(u)
		if err != nil || o.view.Fingerprint == "" {
			b.Fatalf("%+v: %v", o, err)
		}
	}
}
