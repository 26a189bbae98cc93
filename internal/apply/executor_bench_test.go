package apply

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// answers is an API server that has one answer for each path: it costs nothing, so what a benchmark shows
// is the client's share.
type answers struct {
	bodies map[string]string
	sent   int64 // bytes
	count  int
}

// RoundTrip implements http.RoundTripper.
func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		n, err := io.Copy(io.Discard, req.Body)
		if err != nil {
			return nil, err
		}
		a.sent += n
	}
	a.count++
	body, ok := a.bodies[req.URL.Path]
	code := http.StatusOK
	if !ok {
		code, body = http.StatusCreated, `{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}`
	}
	if strings.Contains(req.Header.Get("Accept"), "PartialObjectMetadata") {
		if m, ok := a.bodies[req.URL.Path+"?metadata"]; ok {
			body = m
		}
	}
	return &http.Response{
		StatusCode: code, Proto: "HTTP/2.0", ProtoMajor: 2, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}, "X-Kubernetes-Pf-Flowschema-Uid": {"u"}},
		Body:   io.NopCloser(bytes.NewReader([]byte(body))),
	}, nil
}

func (a *answers) clients(b *testing.B) *kube.Clients {
	b.Helper()
	c, err := kube.New(&rest.Config{Host: "https://127.0.0.1", Transport: a, QPS: -1, ContentConfig: rest.ContentConfig{
		ContentType: "application/json", AcceptContentTypes: "application/json",
	}}, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	return c
}

const (
	labels = `"labels":{"app":"web","holdfast.dev/app":"web","holdfast.dev/instance":"holdfast-system"}`
	// ours is the start of the entry of managedFields that an apply leaves; the fields follow.
	ours = `{"apiVersion":"%s","fieldsType":"FieldsV1","manager":"holdfast","operation":"Apply","time":"2026-01-01T00:00:00Z","fieldsV1":`
	// meta is that of an answer; name, API version and the owned fields outside the metadata are filled in.
	ownLabels = `"f:metadata":{"f:labels":{"f:app":{},"f:holdfast.dev/app":{},"f:holdfast.dev/instance":{}}}`
)

type sample struct{ kind, plural, version, content, fields string }

var samples = []sample{
	{"ConfigMap", "configmaps", "v1", `"data":{"key":"value","other":"value"}`, `"f:data":{"f:key":{},"f:other":{}}`},
	{"ServiceAccount", "serviceaccounts", "v1", `"automountServiceAccountToken":false`, `"f:automountServiceAccountToken":{}`},
	{
		"Service", "services", "v1",
		`"spec":{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":8080}],"selector":{"app":"web"},"sessionAffinity":"None","type":"ClusterIP"},"status":{"loadBalancer":{}}`,
		`"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{},"f:targetPort":{}}},"f:selector":{}}`,
	},
	{
		"Deployment", "deployments", "apps/v1",
		`"spec":{"progressDeadlineSeconds":600,"replicas":0,"revisionHistoryLimit":10,"selector":{"matchLabels":{"app":"web"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"image":"nginx:1","imagePullPolicy":"IfNotPresent","name":"web","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"requests":{"cpu":"10m","memory":"16Mi"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}},"status":{}`,
		`"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{"f:requests":{"f:cpu":{},"f:memory":{}}}}}}}}`,
	},
}

func (s sample) id() object.ObjMetadata {
	o := id(s.kind + "/web")
	o.GroupKind.Group = strings.TrimSuffix(strings.TrimSuffix(s.version, "v1"), "/")
	return o
}

func (s sample) path() string {
	root := "/apis/"
	if s.version == "v1" {
		root = "/api/"
	}
	return root + s.version + "/namespaces/ns/" + s.plural + "/web"
}

// answer is what the server says after an apply, whole or only the metadata.
func (s sample) answer() (whole, metadata string) {
	m := `"metadata":{"name":"web","namespace":"ns","uid":"00000000-0000-0000-0000-000000000000","resourceVersion":"12345","creationTimestamp":"2026-01-01T00:00:00Z",` +
		labels + `,"managedFields":[` + fmt.Sprintf(ours, s.version) + `{` + ownLabels + `,` + s.fields + `}}]}`
	return fmt.Sprintf(`{"kind":%q,"apiVersion":%q,%s,%s}`, s.kind, s.version, m, s.content),
		fmt.Sprintf(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",%s}`, m)
}

func (s sample) desired() *render.Object {
	return &render.Object{
		ID: s.id(), Version: "v1", App: "web", Hash: "h",
		JSON: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,"metadata":{"name":"web","namespace":"ns",%s},%s}`, s.version, s.kind, labels, s.content),
	}
}

func server() *answers {
	a := &answers{bodies: map[string]string{
		"/api/v1":       `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","namespaced":true,"kind":"ConfigMap","verbs":["watch"]},{"name":"serviceaccounts","namespaced":true,"kind":"ServiceAccount","verbs":["watch"]},{"name":"services","namespaced":true,"kind":"Service","verbs":["watch"]}]}`,
		"/apis/apps/v1": `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[{"name":"deployments","namespaced":true,"kind":"Deployment","verbs":["watch"]}]}`,
	}}
	for _, s := range samples {
		a.bodies[s.path()], a.bodies[s.path()+"?metadata"] = s.answer()
	}
	return a
}

// The client's share of applying one object.
func BenchmarkExecutorApply(b *testing.B) {
	for _, s := range samples {
		b.Run("kind="+s.kind, func(b *testing.B) {
			x := NewExecutor(server().clients(b), "holdfast", instance, instance)
			task := Task{Action: Apply, Cause: Sync, ID: s.id(), App: "web", Object: s.desired()}
			b.ReportAllocs()
			for b.Loop() {
				if r := x.Do(b.Context(), task); r.Err != nil || r.Live.Fingerprint == "" {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}

// What a watch event of one object costs before the engine has it.
func BenchmarkObserveLive(b *testing.B) {
	for _, s := range samples {
		b.Run("kind="+s.kind, func(b *testing.B) {
			whole, _ := s.answer()
			u, err := decode([]byte(whole))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if v := live.Observe(u, "holdfast", nil); v.Fingerprint == "" {
					b.Fatal("no fingerprint")
				}
			}
		})
	}
}

// Saving the ids of 5,000 objects before the first of them is written, and then one that changed.
func BenchmarkInventorySave(b *testing.B) {
	records := Batch{}
	for _, app := range manyApps(1250) {
		for _, o := range app.Objects {
			records[o.ID] = &Record{App: app.Name, Hash: strings.Repeat("0", 32), Fingerprint: strings.Repeat("0", 33), Current: true, Commit: strings.Repeat("0", 40)}
		}
	}
	var one Batch
	for id, r := range records {
		one = Batch{id: r}
		break
	}
	for name, b2 := range map[string]Batch{"objects=5000": records, "objects=1of5000": one} {
		b.Run(name, func(b *testing.B) {
			a := server()
			inv := NewInventory(a.clients(b).Kubernetes, "ns", instance, "holdfast")
			a.bodies["/api/v1/namespaces/ns/configmaps"] = `{"kind":"ConfigMapList","apiVersion":"v1","items":[]}`
			if _, err := inv.Load(b.Context()); err != nil {
				b.Fatal(err)
			}
			delete(a.bodies, "/api/v1/namespaces/ns/configmaps")
			inv.SetHead("c0")
			if err := inv.Save(b.Context(), records); err != nil {
				b.Fatal(err)
			}
			a.count, a.sent = 0, 0
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				if err := inv.Save(b.Context(), b2); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(a.count)/float64(n), "requests/op")
			b.ReportMetric(float64(a.sent)/float64(n), "sent-B/op")
		})
	}
}
