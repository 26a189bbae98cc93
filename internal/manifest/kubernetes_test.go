package manifest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

var update = flag.Bool("update", false, "write the embedded schemas anew, from a local control plane, and the expected faults in testdata")

// shared serves every API, those that are off by default too: a manifest may be for a cluster where they are on.
var shared = localclustertest.Shared(localcluster.Options{
	Name: "manifest", Bare: true, APIServerFlags: []string{"--runtime-config=api/all=true"},
})

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func connect(t *testing.T) *kube.Clients {
	t.Helper()
	cfg, err := kube.Config(shared.Cluster(t).Kubeconfig(), "holdfast/test")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kube.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// TestEmbedded takes the schemas from a real API server, and holds the embedded ones to them.
func TestEmbedded(t *testing.T) {
	got, err := json.MarshalIndent(take(t, connect(t)), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		// Compact: the indentation is for the comparison.
		var compact bytes.Buffer
		if err := json.Compact(&compact, got); err != nil {
			t.Fatal(err)
		}
		if _, err := compact.WriteTo(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		embedded = packed.Bytes()
		if err := os.WriteFile("kubernetes.json.gz", embedded, 0o644); err != nil { //nolint:gosec // a part of the source
			t.Fatal(err)
		}
	}
	b, err := unpack(embedded)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the embedded schemas are stale; run go test ./internal/manifest -run TestEmbedded -update (-file +server):\n%s", diff)
	}
	const most = 40 << 10 // of a program of forty megabytes
	if len(embedded) > most {
		t.Errorf("%d bytes are embedded, want at most %d", len(embedded), most)
	}
}

// document is the part of one group version's OpenAPI that is read.
type document struct {
	Paths map[string]struct {
		Patch *struct {
			GVK schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		} `json:"patch"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]map[string]any `json:"schemas"`
	} `json:"components"`
}

// take reads the schemas of all kinds of which objects can be patched, and thus applied.
func take(t *testing.T, clients *kube.Clients) *bundle {
	t.Helper()
	version, err := clients.Discovery.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	groups, err := clients.Discovery.OpenAPIV3().Paths() //nolint:staticcheck // one short request of a test
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{Version: strings.TrimPrefix(version.GitVersion, "v"), Definitions: map[string]json.RawMessage{}}
	all := map[string]map[string]any{}
	var roots []string
	for path, group := range groups {
		if strings.Contains(path, "example.com") {
			continue // another test's
		}
		data, err := group.Schema("application/json")
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var doc document
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		names := map[schema.GroupVersionKind]string{}
		for name, s := range doc.Components.Schemas {
			all[name] = s
			for _, gvk := range kindsOf(s) {
				names[gvk] = name
			}
		}
		for path, methods := range doc.Paths {
			if methods.Patch == nil || !strings.HasSuffix(path, "/{name}") {
				continue
			}
			gvk := methods.Patch.GVK
			b.Kinds = append(b.Kinds, bundledKind{
				Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind,
				Namespaced: strings.Contains(path, "/namespaces/{namespace}/"), Definition: names[gvk],
			})
			roots = append(roots, names[gvk])
		}
	}
	slices.SortFunc(b.Kinds, func(x, y bundledKind) int {
		return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.Version, y.Version), cmp.Compare(x.Kind, y.Kind))
	})
	markKeys(all)
	for _, name := range roots {
		properties, _ := all[name]["properties"].(map[string]any)
		delete(properties, "status") // never applied
	}
	for _, name := range roots {
		b.add(t, all, name)
	}
	return b
}

// kindsOf are the kinds that a definition says it is of.
func kindsOf(definition map[string]any) (kinds []schema.GroupVersionKind) {
	list, _ := definition["x-kubernetes-group-version-kind"].([]any)
	for _, entry := range list {
		m, _ := entry.(map[string]any)
		group, _ := m["group"].(string)
		version, _ := m["version"].(string)
		kind, _ := m["kind"].(string)
		kinds = append(kinds, schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	}
	return kinds
}

// add takes a definition up, and those that it names.
func (b *bundle) add(t *testing.T, all map[string]map[string]any, name string) {
	t.Helper()
	if _, ok := b.Definitions[name]; ok {
		return
	}
	s, ok := all[name]
	if !ok {
		t.Fatalf("there is no definition %s", name)
	}
	reduced := reduce(all, s)
	corrections[name].apply(t, name, reduced)
	data, err := json.Marshal(reduced)
	if err != nil {
		t.Fatal(err)
	}
	b.Definitions[name] = data
	for _, ref := range refs(reduced) {
		b.add(t, all, strings.TrimPrefix(ref, refPrefix))
	}
}

// kept are the keywords that say what is allowed.
var kept = []string{"type", "format", "enum", "required", "$ref", extListMapKeys, extPreserve}

// reduce leaves of a schema what can be broken by a manifest.
func reduce(all map[string]map[string]any, s map[string]any) map[string]any {
	r := map[string]any{}
	for _, key := range kept {
		if v, ok := s[key]; ok {
			r[key] = v
		}
	}
	// A wrapping that only adds a description or a default.
	if wrapped, ok := s["allOf"].([]any); ok && len(wrapped) == 1 {
		inner, _ := wrapped[0].(map[string]any)
		return reduce(all, inner)
	}
	// The only definitions with alternatives: a quantity, and a number or a string.
	if alternatives, ok := s["oneOf"].([]any); ok {
		var types []any
		for _, a := range alternatives {
			m, _ := a.(map[string]any)
			types = append(types, m["type"])
		}
		r["type"] = types
		if fmt.Sprint(types) == "[string number]" {
			r["format"] = formatQuantity
		} else {
			delete(r, "format")
		}
	}
	if kind, _ := s[extListType].(string); kind == listTypeMap || kind == listTypeSet {
		r[extListType] = kind
	}
	if properties, ok := s["properties"].(map[string]any); ok {
		below := map[string]any{}
		for name, p := range properties {
			m, _ := p.(map[string]any)
			below[name] = reduce(all, m)
		}
		r["properties"] = below
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if m, ok := s[key].(map[string]any); ok {
			r[key] = reduce(all, m)
		}
	}
	if d, ok := s[defaultOfKey]; ok {
		r["default"] = d
	}
	return r
}

// defaultOfKey marks a default that counts: an entry of a list may leave a part of its key out, as a port its
// protocol.
const defaultOfKey = "default of a key"

// markKeys finds the fields by which entries of lists are told apart.
func markKeys(all map[string]map[string]any) {
	var visit func(v any)
	visit = func(v any) {
		s, ok := v.(map[string]any)
		if !ok {
			return
		}
		keys, _ := s[extListMapKeys].([]any)
		items, _ := s["items"].(map[string]any)
		properties, _ := all[strings.TrimPrefix(fmt.Sprint(reduce(all, items)["$ref"]), refPrefix)]["properties"].(map[string]any)
		for _, key := range keys {
			p, _ := properties[fmt.Sprint(key)].(map[string]any)
			if d, ok := p["default"].(string); ok && d != "" {
				p[defaultOfKey] = d
			}
		}
		for _, below := range s {
			visit(below)
		}
	}
	for _, s := range all {
		visit(s)
	}
}

// refs lists the definitions that a schema names.
func refs(v any) (found []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, below := range v {
			if ref, ok := below.(string); ok && key == "$ref" {
				found = append(found, ref)
			}
			found = append(found, refs(below)...)
		}
	case []any:
		for _, below := range v {
			found = append(found, refs(below)...)
		}
	}
	return found
}

// correction is what the API server has in code and OpenAPI does not say, or says otherwise, of one definition.
// TestAgainstServer holds every one of them to a real API server.
type correction struct {
	// required and optional are fields that it asks for, and that it does without.
	required, optional []string
	// oneOf are fields of which it wants at least one.
	oneOf []string
	// formats of fields, see node.go.
	formats map[string]string
}

var corrections = map[string]correction{
	"io.k8s.api.apps.v1.DaemonSet":                                                             {required: []string{"spec"}},
	"io.k8s.api.apps.v1.Deployment":                                                            {required: []string{"spec"}},
	"io.k8s.api.apps.v1.ReplicaSet":                                                            {required: []string{"spec"}},
	"io.k8s.api.apps.v1.StatefulSet":                                                           {required: []string{"spec"}},
	"io.k8s.api.batch.v1.Job":                                                                  {required: []string{"spec"}},
	"io.k8s.api.batch.v1.PodFailurePolicy":                                                     {optional: []string{"rules"}},
	"io.k8s.api.core.v1.ConfigMapEnvSource":                                                    {required: []string{"name"}},
	"io.k8s.api.core.v1.ConfigMapKeySelector":                                                  {required: []string{"name"}},
	"io.k8s.api.core.v1.ConfigMapVolumeSource":                                                 {required: []string{"name"}},
	"io.k8s.api.core.v1.Container":                                                             {required: []string{"image"}, formats: map[string]string{"name": formatLabel}},
	"io.k8s.api.core.v1.ContainerPort":                                                         {formats: map[string]string{"name": formatPortName, "containerPort": formatPort}},
	"io.k8s.api.core.v1.EnvFromSource":                                                         {oneOf: []string{"configMapRef", "secretRef"}},
	"io.k8s.api.core.v1.EnvVarSource":                                                          {oneOf: []string{"configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef", "fileKeyRef"}},
	"io.k8s.api.core.v1.HTTPHeader":                                                            {optional: []string{"value"}},
	"io.k8s.api.core.v1.LifecycleHandler":                                                      {oneOf: []string{"exec", "httpGet", "sleep", "tcpSocket"}},
	"io.k8s.api.core.v1.LimitRangeSpec":                                                        {optional: []string{"limits"}},
	"io.k8s.api.core.v1.PersistentVolume":                                                      {required: []string{"spec"}},
	"io.k8s.api.core.v1.PersistentVolumeClaim":                                                 {required: []string{"spec"}},
	"io.k8s.api.core.v1.PersistentVolumeClaimSpec":                                             {required: []string{"accessModes", "resources"}},
	"io.k8s.api.core.v1.PersistentVolumeSpec":                                                  {required: []string{"accessModes", "capacity"}},
	"io.k8s.api.core.v1.Pod":                                                                   {required: []string{"spec"}},
	"io.k8s.api.core.v1.PodTemplateSpec":                                                       {required: []string{"spec"}},
	"io.k8s.api.core.v1.PreferredSchedulingTerm":                                               {optional: []string{"preference"}},
	"io.k8s.api.core.v1.Probe":                                                                 {oneOf: []string{"exec", "httpGet", "tcpSocket", "grpc"}},
	"io.k8s.api.core.v1.SecretEnvSource":                                                       {required: []string{"name"}},
	"io.k8s.api.core.v1.SecretKeySelector":                                                     {required: []string{"name"}},
	"io.k8s.api.core.v1.SecretVolumeSource":                                                    {required: []string{"secretName"}},
	"io.k8s.api.core.v1.Service":                                                               {required: []string{"spec"}},
	"io.k8s.api.core.v1.ServicePort":                                                           {formats: map[string]string{"name": formatLabel, "port": formatPort}},
	"io.k8s.api.core.v1.Sysctl":                                                                {optional: []string{"value"}},
	"io.k8s.api.core.v1.Volume":                                                                {formats: map[string]string{"name": formatLabel}},
	"io.k8s.api.core.v1.VolumeResourceRequirements":                                            {required: []string{"requests"}},
	"io.k8s.api.discovery.v1.ForZone":                                                          {optional: []string{"name"}},
	"io.k8s.api.networking.v1.Ingress":                                                         {required: []string{"spec"}},
	"io.k8s.api.networking.v1.IngressBackend":                                                  {oneOf: []string{"service", "resource"}},
	"io.k8s.api.networking.v1.IngressServiceBackend":                                           {required: []string{"port"}},
	"io.k8s.api.networking.v1.NetworkPolicyPeer":                                               {oneOf: []string{"ipBlock", "namespaceSelector", "podSelector"}},
	"io.k8s.api.networking.v1.ServiceBackendPort":                                              {oneOf: []string{"name", "number"}},
	"io.k8s.api.resource.v1.DeviceClass":                                                       {optional: []string{"spec"}},
	"io.k8s.api.resource.v1.ResourceClaimTemplate":                                             {optional: []string{"spec"}},
	"io.k8s.api.resource.v1.ResourceClaimTemplateSpec":                                         {optional: []string{"spec"}},
	"io.k8s.api.storage.v1.CSIDriver":                                                          {optional: []string{"spec"}},
	"io.k8s.api.storage.v1.CSINode":                                                            {optional: []string{"spec"}},
	"io.k8s.api.storage.v1.CSINodeSpec":                                                        {optional: []string{"drivers"}},
	"io.k8s.api.storage.v1.TokenRequest":                                                       {optional: []string{"audience"}},
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceConversion":        {optional: []string{"strategy"}},
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionVersion": {optional: []string{"served", "storage"}},
}

// apply corrects a reduced definition.
func (c correction) apply(t *testing.T, name string, s map[string]any) {
	t.Helper()
	var required []string
	given, _ := s["required"].([]any)
	for _, field := range given {
		required = append(required, fmt.Sprint(field))
	}
	for _, field := range c.optional {
		if !slices.Contains(required, field) {
			t.Errorf("%s: %s is optional already: take the correction out", name, field)
		}
	}
	required = slices.DeleteFunc(required, func(field string) bool { return slices.Contains(c.optional, field) })
	properties, _ := s["properties"].(map[string]any)
	for _, field := range c.required {
		if slices.Contains(required, field) || properties[field] == nil {
			t.Errorf("%s: %s is required already, or not there: take the correction out", name, field)
		}
		required = append(required, field)
	}
	if delete(s, "required"); len(required) > 0 {
		s["required"] = required
	}
	for _, field := range c.oneOf {
		if properties[field] == nil {
			t.Errorf("%s has no %s", name, field)
		}
		s[extOneOf] = c.oneOf
	}
	for field, format := range c.formats {
		p, ok := properties[field].(map[string]any)
		if !ok {
			t.Errorf("%s has no %s", name, field)
			continue
		}
		p["format"] = format
	}
}
