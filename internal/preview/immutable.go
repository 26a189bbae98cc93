package preview

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// fixed says which fields of a kind the API server will not have changed, by its validation of updates
// (Kubernetes 1.36).
type fixed struct {
	// fields are paths that must stay as they are.
	fields []string
	// within is a path of which all must stay, but for what is in except.
	within string
	except []string
	// images are lists below within of which items may have another image, and nothing else.
	images []string
	// once are paths that must stay once they have been set, by Git or by the server itself.
	once []string
	// defaults are the values that the server fills in where Git says nothing.
	defaults map[string]any
}

var fixedFields = map[schema.GroupKind]fixed{
	{Group: "apps", Kind: "Deployment"}: {fields: []string{"spec.selector"}},
	{Group: "apps", Kind: "DaemonSet"}:  {fields: []string{"spec.selector"}},
	{Group: "apps", Kind: "ReplicaSet"}: {fields: []string{"spec.selector"}},
	{Group: "apps", Kind: "StatefulSet"}: {
		within: "spec",
		except: []string{"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"},
		// The rest of volumeClaimTemplates' defaults are the same before and after.
		defaults: map[string]any{"spec.podManagementPolicy": "OrderedReady"},
	},
	{Group: "batch", Kind: "Job"}: {
		fields:   []string{"spec.selector", "spec.template", "spec.completionMode", "spec.podFailurePolicy", "spec.successPolicy", "spec.backoffLimitPerIndex", "spec.managedBy"},
		defaults: map[string]any{"spec.completionMode": "NonIndexed"},
	},
	{Kind: "Service"}: {once: []string{"spec.clusterIP"}},
	{Kind: "PersistentVolumeClaim"}: {
		within: "spec", except: []string{"resources", "volumeAttributesClassName"},
		defaults: map[string]any{"spec.volumeMode": "Filesystem"},
	},
	{Kind: "PersistentVolume"}: {
		within:   "spec",
		except:   []string{"accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy", "storageClassName", "volumeAttributesClassName"},
		defaults: map[string]any{"spec.volumeMode": "Filesystem"},
	},
	{Kind: "Secret"}: {fields: []string{"type"}, defaults: map[string]any{"type": "Opaque"}},
	{Kind: "Pod"}: {
		within: "spec",
		except: []string{"ephemeralContainers", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates"},
		images: []string{"spec.containers", "spec.initContainers"},
	},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        {fields: []string{"roleRef"}},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: {fields: []string{"roleRef"}},
	{Group: "storage.k8s.io", Kind: "StorageClass"}: {
		fields:   []string{"provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"},
		defaults: map[string]any{"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
	},
	{Group: "storage.k8s.io", Kind: "CSIDriver"}: {
		fields: []string{"spec.attachRequired", "spec.volumeLifecycleModes"}, defaults: map[string]any{"spec.attachRequired": true},
	},
	{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}: {fields: []string{"driverName", "parameters"}},
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}: {
		fields: []string{"value", "preemptionPolicy"}, defaults: map[string]any{"preemptionPolicy": "PreemptLowerPriority"},
	},
	{Group: "networking.k8s.io", Kind: "IngressClass"}: {fields: []string{"spec.controller"}},
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: {fields: []string{"addressType"}},
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:       {fields: []string{"handler"}},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: {
		fields: []string{"spec.group", "spec.scope", "spec.names.plural", "spec.names.kind"},
	},
}

// immutable lists the fields of an object that are changed and that the API server will not have changed. Of
// custom kinds nothing is known.
func immutable(gk schema.GroupKind, was, is map[string]any) (fields []string) {
	f := fixedFields[gk]
	paths := slices.Clone(f.fields)
	if f.within != "" {
		before, _ := at(was, f.within).(map[string]any)
		after, _ := at(is, f.within).(map[string]any)
		keys := maps.Clone(before)
		if keys == nil {
			keys = map[string]any{}
		}
		maps.Copy(keys, after)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Contains(f.except, key) {
				paths = append(paths, f.within+"."+key)
			}
		}
	}
	if frozen, _ := was["immutable"].(bool); frozen && gk.Group == "" && (gk.Kind == "ConfigMap" || gk.Kind == "Secret") {
		paths = append(paths, "data", "binaryData", "immutable")
	}
	if gk.Group == "batch" && gk.Kind == "Job" && !elastic(is) {
		paths = append(paths, "spec.completions")
	}
	for _, path := range paths {
		before, after := at(was, path), at(is, path)
		if slices.Contains(f.images, path) {
			before, after = withoutImages(before), withoutImages(after)
		}
		if d, ok := f.defaults[path]; ok {
			before, after = orDefault(before, d), orDefault(after, d)
		}
		if !reflect.DeepEqual(before, after) {
			fields = append(fields, path)
		}
	}
	for _, path := range f.once {
		if before, after := at(was, path), at(is, path); after != nil && after != "" && !reflect.DeepEqual(before, after) {
			fields = append(fields, path)
		}
	}
	return fields
}

// elastic tells whether a Job may be given another number of completions: an indexed one, along with its
// parallelism.
func elastic(job map[string]any) bool {
	return at(job, "spec.completionMode") == "Indexed" && at(job, "spec.completions") == at(job, "spec.parallelism")
}

// withoutImages copies a list of containers without their images.
func withoutImages(containers any) any {
	list, _ := containers.([]any)
	var stripped []any
	for _, item := range list {
		container, _ := item.(map[string]any)
		container = maps.Clone(container)
		delete(container, "image")
		stripped = append(stripped, container)
	}
	return stripped
}

func orDefault(v, d any) any {
	if v == nil {
		return d
	}
	return v
}

// at finds a field, nil if it is not there.
func at(object map[string]any, path string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(object, strings.Split(path, ".")...)
	return v
}
