package manifest

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// rules checks what the API server has in code and not in schemas, as far as it is cheap and common.
func (c *check) rules(gvk schema.GroupVersionKind, object map[string]any) {
	c.name(gvk, object)
	c.metadata(Path{keyMetadata}, object)
	if gvk.Group != "apps" && gvk.Group != "batch" {
		return
	}
	at, holder := Path{keySpec}, child(object, keySpec)
	if gvk.Kind == "CronJob" {
		at, holder = at.with("jobTemplate", keySpec), child(child(holder, "jobTemplate"), keySpec)
	}
	template := child(holder, keyTemplate)
	if template == nil {
		return
	}
	at = at.with(keyTemplate)
	c.metadata(at.with(keyMetadata), template)
	c.mounts(at.with(keySpec), child(template, keySpec), child(object, keySpec))
	if gvk.Group == "apps" {
		c.selector(at, holder, template)
	}
	c.restarts(gvk.Group, at.with(keySpec), child(template, keySpec))
}

// restarts checks that what runs to an end does not restart for ever, and what runs for ever does.
func (c *check) restarts(group string, at Path, pod map[string]any) {
	policy, given := pod["restartPolicy"].(string)
	switch {
	case group == "batch" && !given:
		c.fail(MissingField, at.with("restartPolicy"), "is missing, must be Never or OnFailure")
	case group == "batch" && policy == "Always":
		c.fail(InvalidValue, at.with("restartPolicy"), "must be Never or OnFailure")
	case group == "apps" && given && policy != "" && policy != "Always":
		c.fail(InvalidValue, at.with("restartPolicy"), "must be Always")
	}
}

// name checks the form of an object's name: a DNS subdomain for all kinds but a few.
func (c *check) name(gvk schema.GroupVersionKind, object map[string]any) {
	name, ok := child(object, keyMetadata)[keyName].(string)
	if !ok {
		return
	}
	var faults []string
	switch {
	case gvk.Group == "rbac.authorization.k8s.io":
		faults = content.IsPathSegmentName(name)
	case gvk.GroupKind() == schema.GroupKind{Kind: "Namespace"}, gvk.GroupKind() == schema.GroupKind{Kind: "Service"}:
		faults = validation.IsDNS1123Label(name)
	default:
		faults = validation.IsDNS1123Subdomain(name)
	}
	for _, fault := range faults {
		c.fail(InvalidValue, Path{keyMetadata, keyName}, "%s, is %s", brief(fault), quote(name))
	}
}

// metadata checks labels and annotations.
func (c *check) metadata(at Path, of map[string]any) {
	meta := child(of, keyMetadata)
	given := child(meta, keyLabels)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		c.key(at.with(keyLabels, key), key)
		if value, ok := given[key].(string); ok {
			for _, fault := range validation.IsValidLabelValue(value) {
				c.fail(InvalidValue, at.with(keyLabels, key), "%s, is %s", brief(fault), quote(value))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(child(meta, keyAnnotations))) {
		c.key(at.with(keyAnnotations, key), key)
	}
}

func (c *check) key(at Path, key string) {
	for _, fault := range validation.IsQualifiedName(key) {
		c.fail(InvalidValue, at, "the key: %s", brief(fault))
	}
}

// selector checks that a workload selects the pods that it makes.
func (c *check) selector(at Path, holder, template map[string]any) {
	given := child(holder, "selector")
	if given == nil {
		return
	}
	var s metav1.LabelSelector
	if runtime.DefaultUnstructuredConverter.FromUnstructured(given, &s) != nil {
		return // said by the schema
	}
	selector, err := metav1.LabelSelectorAsSelector(&s)
	where := Path{keySpec, "selector"}
	if err != nil {
		c.fail(InvalidValue, where, "%v", err)
		return
	}
	if selector.Empty() {
		c.fail(InvalidValue, where, "selects every pod: name the labels of this one's")
		return
	}
	pod := map[string]string{}
	for key, value := range child(child(template, keyMetadata), keyLabels) {
		pod[key], _ = value.(string)
	}
	if !selector.Matches(labels.Set(pod)) {
		c.fail(InvalidValue, at.with(keyMetadata, keyLabels), "do not match spec.selector, %s", metav1.FormatLabelSelector(&s))
	}
}

// mounts checks that every mounted volume is one of the pod's, or of a StatefulSet's templates.
func (c *check) mounts(at Path, pod, owner map[string]any) {
	volumes := map[string]bool{}
	for _, v := range list(pod, "volumes") {
		if m, ok := v.(map[string]any); ok {
			name, _ := m[keyName].(string)
			volumes[name] = true
		}
	}
	for _, v := range list(owner, "volumeClaimTemplates") {
		if m, ok := v.(map[string]any); ok {
			name, _ := child(m, keyMetadata)[keyName].(string)
			volumes[name] = true
		}
	}
	for _, containers := range []string{"initContainers", "containers"} {
		for i, entry := range list(pod, containers) {
			container, _ := entry.(map[string]any)
			for j, entry := range list(container, keyVolumeMounts) {
				mount, _ := entry.(map[string]any)
				name, ok := mount[keyName].(string)
				if ok && !volumes[name] {
					c.fail(InvalidValue, at.with(containers, i, keyVolumeMounts, j, keyName), "the pod has no volume %s%s",
						quote(name), spell.DidYouMean(name, slices.Sorted(maps.Keys(volumes))))
				}
			}
		}
	}
}

func child(m map[string]any, key string) map[string]any {
	below, _ := m[key].(map[string]any)
	return below
}

func list(m map[string]any, key string) []any {
	entries, _ := m[key].([]any)
	return entries
}
