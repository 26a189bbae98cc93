package preview

import (
	"encoding/json"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

var shared = localclustertest.Shared(localcluster.Options{Name: "preview", Bare: true})

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

const podTemplate = "template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: i}]}}"

// TestImmutableIsWhatTheServerSays changes objects on a real API server, one field at a time: it refuses as immutable
// exactly what the preview says it will.
func TestImmutableIsWhatTheServerSays(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	cfg, err := kube.Config(shared.Cluster(t).Kubeconfig(), "holdfast/test")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kube.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	claim := "{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
	for _, tt := range []struct {
		object  string // apiVersion, kind, and the rest
		from    string
		to      string
		refused bool
	}{
		{"apps/v1 Deployment spec: {replicas: 1, selector: {matchLabels: {app: a}}, " + podTemplate + "}", "matchLabels: {app: a}", "matchExpressions: [{key: app, operator: In, values: [a]}]", true},
		{"apps/v1 Deployment spec: {replicas: 1, selector: {matchLabels: {app: a}}, " + podTemplate + "}", "image: i", "image: j", false},
		{"apps/v1 DaemonSet spec: {selector: {matchLabels: {app: a}}, " + podTemplate + "}", "matchLabels: {app: a}", "matchExpressions: [{key: app, operator: In, values: [a]}]", true},
		{"apps/v1 ReplicaSet spec: {selector: {matchLabels: {app: a}}, " + podTemplate + "}", "matchLabels: {app: a}", "matchExpressions: [{key: app, operator: In, values: [a]}]", true},
		{"apps/v1 StatefulSet spec: {serviceName: s, selector: {matchLabels: {app: a}}, " + podTemplate + ", volumeClaimTemplates: [" + claim + "]}", "serviceName: s", "serviceName: t", true},
		{"apps/v1 StatefulSet spec: {serviceName: s, selector: {matchLabels: {app: a}}, " + podTemplate + ", volumeClaimTemplates: [" + claim + "]}", "1Gi", "2Gi", true},
		{"apps/v1 StatefulSet spec: {serviceName: s, selector: {matchLabels: {app: a}}, " + podTemplate + "}", "serviceName: s", "podManagementPolicy: Parallel, serviceName: s", true},
		{"apps/v1 StatefulSet spec: {serviceName: s, selector: {matchLabels: {app: a}}, " + podTemplate + "}", "serviceName: s", "podManagementPolicy: OrderedReady, serviceName: s", false},
		{"apps/v1 StatefulSet spec: {serviceName: s, selector: {matchLabels: {app: a}}, " + podTemplate + "}", "serviceName: s", "replicas: 2, minReadySeconds: 3, revisionHistoryLimit: 2, ordinals: {start: 1}, updateStrategy: {rollingUpdate: {partition: 1}}, persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}, serviceName: s", false},
		{"batch/v1 Job spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "image: i", "image: j", true},
		{"batch/v1 Job spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "spec: {template", "spec: {parallelism: 2, suspend: true, backoffLimit: 3, ttlSecondsAfterFinished: 5, template", false},
		{"batch/v1 Job spec: {completionMode: Indexed, completions: 2, parallelism: 2, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "completionMode: Indexed", "completionMode: NonIndexed", true},
		{"batch/v1 Job spec: {completions: 2, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "completions: 2", "completions: 3", true},
		{"batch/v1 Job spec: {completionMode: Indexed, completions: 2, parallelism: 2, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "completions: 2, parallelism: 2", "completions: 3, parallelism: 3", false},
		{"batch/v1 Job spec: {podReplacementPolicy: Failed, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "Failed", "TerminatingOrFailed", false},
		{"batch/v1 CronJob spec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}", "image: i", "image: j", false},
		{"v1 Service spec: {clusterIP: None, ports: [{port: 80}]}", "clusterIP: None, ", "", false},
		{"v1 Service spec: {ports: [{port: 80}]}", "spec: {", "spec: {clusterIP: None, ", true},
		{"v1 Service spec: {ports: [{port: 80}]}", "port: 80", "port: 81", false},
		{"v1 PersistentVolumeClaim spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "ReadWriteOnce", "ReadWriteMany", true},
		{"v1 PersistentVolumeClaim spec: {storageClassName: a, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "storageClassName: a", "storageClassName: b", true},
		{"v1 PersistentVolumeClaim spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "spec: {", "spec: {volumeMode: Filesystem, ", false},
		{"v1 PersistentVolume spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /a}}", "path: /a", "path: /b", true},
		{"v1 PersistentVolume spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /a}}", "spec: {", "spec: {volumeMode: Block, ", true},
		{"v1 PersistentVolume spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /a}}", "spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]", "spec: {persistentVolumeReclaimPolicy: Delete, storageClassName: x, mountOptions: [a], capacity: {storage: 2Gi}, accessModes: [ReadWriteMany]", false},
		{"v1 Secret stringData: {a: b}", "stringData", "type: example.com/t\nstringData", true},
		{"v1 Secret stringData: {a: b}", "stringData", "type: Opaque\nstringData", false},
		{"v1 Secret immutable: true\nstringData: {a: b}", "a: b", "a: c", true},
		{"v1 Secret immutable: true\nstringData: {a: b}", "immutable: true", "immutable: false", true},
		{"v1 ConfigMap immutable: true\ndata: {a: b}", "a: b", "a: c", true},
		{"v1 ConfigMap data: {a: b}", "data: {a: b}", "data: {a: c}\nimmutable: true", false},
		{"v1 Pod spec: {containers: [{name: c, image: i}]}", "spec: {", "spec: {hostNetwork: true, ", true},
		{"v1 Pod spec: {containers: [{name: c, image: i}]}", "image: i", "image: j", false},
		{"v1 Pod spec: {containers: [{name: c, image: i}]}", "image: i", "image: i, command: [a]", true},
		{"rbac.authorization.k8s.io/v1 RoleBinding roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}", "name: a}", "name: b}", true},
		{"rbac.authorization.k8s.io/v1 ClusterRoleBinding roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}", "name: view", "name: edit", true},
		{"storage.k8s.io/v1 StorageClass provisioner: a.example.com\nparameters: {a: b}", "a: b", "a: c", true},
		{"storage.k8s.io/v1 StorageClass provisioner: a.example.com", "a.example.com", "b.example.com", true},
		{"storage.k8s.io/v1 StorageClass provisioner: a.example.com", "provisioner", "reclaimPolicy: Retain\nprovisioner", true},
		{"storage.k8s.io/v1 StorageClass provisioner: a.example.com", "provisioner", "volumeBindingMode: WaitForFirstConsumer\nprovisioner", true},
		{"storage.k8s.io/v1 StorageClass provisioner: a.example.com", "provisioner", "reclaimPolicy: Delete\nvolumeBindingMode: Immediate\nallowVolumeExpansion: true\nmountOptions: [a]\nprovisioner", false},
		{"storage.k8s.io/v1 VolumeAttributesClass driverName: a.example.com\nparameters: {a: b}", "a: b", "a: c", true},
		{"storage.k8s.io/v1 CSIDriver spec: {attachRequired: true}", "true", "false", true},
		{"storage.k8s.io/v1 CSIDriver spec: {podInfoOnMount: true}", "true", "false", false},
		{"scheduling.k8s.io/v1 PriorityClass value: 1", "value: 1", "value: 2", true},
		{"scheduling.k8s.io/v1 PriorityClass value: 1", "value: 1", "value: 1\npreemptionPolicy: Never", true},
		{"scheduling.k8s.io/v1 PriorityClass value: 1", "value: 1", "value: 1\npreemptionPolicy: PreemptLowerPriority\ndescription: x", false},
		{"networking.k8s.io/v1 IngressClass spec: {controller: example.com/a}", "example.com/a", "example.com/b", true},
		{"node.k8s.io/v1 RuntimeClass handler: a", "handler: a", "handler: b", true},
		{"storage.k8s.io/v1 CSIDriver spec: {}", "{}", "{attachRequired: true}", false},
		{"policy/v1 PodDisruptionBudget spec: {selector: {matchLabels: {app: a}}, minAvailable: 1}", "app: a", "app: b", false},
		{"networking.k8s.io/v1 NetworkPolicy spec: {podSelector: {matchLabels: {app: a}}}", "app: a", "app: b", false},
		{"discovery.k8s.io/v1 EndpointSlice addressType: IPv4\nendpoints: []", "IPv4", "IPv6", true},
	} {
		parts := strings.SplitN(tt.object, " ", 3)
		t.Run(parts[1]+" "+tt.from+" to "+tt.to, func(t *testing.T) {
			name := strings.ToLower(strings.NewReplacer("/", "-").Replace(t.Name()))
			name = "t" + hashName(name)
			manifest := "apiVersion: " + parts[0] + "\nkind: " + parts[1] + "\nmetadata: {name: " + name + "}\n" + parts[2] + "\n"
			was, is := parsed(t, manifest), parsed(t, strings.Replace(manifest, tt.from, tt.to, 1))
			resource, err := clients.Mapper.Resolve(t.Context(), was.GroupVersionKind())
			if err != nil {
				t.Fatal(err)
			}
			namespace := ""
			if resource.Namespaced {
				namespace = "default"
			}
			at := clients.Dynamic.Resource(resource.GVR()).Namespace(namespace)
			send := func(u *unstructured.Unstructured) error {
				body, err := json.Marshal(u.Object)
				if err != nil {
					t.Fatal(err)
				}
				_, err = at.Patch(t.Context(), name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "holdfast", Force: ptr.To(true)})
				return err
			}
			if err := send(was); err != nil {
				t.Fatal(err)
			}
			err = send(is)
			if kube.IsImmutable(err) != tt.refused || err != nil && !tt.refused {
				t.Errorf("the server says: %v", err)
			}
			// What is rendered has the data of Secrets as the server keeps it.
			for _, u := range []*unstructured.Unstructured{was, is} {
				if data, ok := u.Object["stringData"]; ok {
					u.Object["data"] = data
					delete(u.Object, "stringData")
				}
			}
			if fields := immutable(was.GroupVersionKind().GroupKind(), was.Object, is.Object); len(fields) > 0 != tt.refused {
				t.Errorf("told: %q, the server says: %v", fields, err)
			}
		})
	}
}

func parsed(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(j); err != nil {
		t.Fatal(err)
	}
	return u
}

func hashName(s string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}
