package status

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// store is where AppStatus objects are kept. The tests of the writer's timing, which run on a fake clock, have
// another one than the cluster.
type store interface {
	// list returns the AppStatus objects of this instance, by app.
	list(ctx context.Context) (map[string]stored, error)
	// apply writes one, and returns what identifies it from now on.
	apply(ctx context.Context, app, object string, status *AppStatusStatus) (stored, error)
	// remove deletes the object, if it is still the one with that UID. Absence is success.
	remove(ctx context.Context, object string, uid types.UID) error
}

// stored is one AppStatus of the cluster.
type stored struct {
	object string // the object's name: mostly the app's
	uid    types.UID
	status AppStatusStatus
}

// clusterStore keeps AppStatus objects in the cluster.
type clusterStore struct {
	client   dynamic.Interface
	instance string
	manager  string
}

func (c *clusterStore) list(ctx context.Context) (map[string]stored, error) {
	// From the API server's cache: one agent per instance writes these, and it has just started.
	list, err := c.client.Resource(GVR).List(ctx, metav1.ListOptions{LabelSelector: LabelInstance + "=" + c.instance})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // the kind does not exist, so none of them does
	}
	if err != nil {
		return nil, fmt.Errorf("list AppStatus objects: %w", err)
	}
	out := make(map[string]stored, len(list.Items))
	same := texts{}
	for i := range list.Items {
		item := &list.Items[i]
		var object AppStatus
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &object); err != nil {
			return nil, fmt.Errorf("decode AppStatus/%s: %w", item.GetName(), err)
		}
		app := object.Labels[LabelApp]
		if app == "" {
			app = object.Name
		}
		same.replace(&object.Status)
		out[app] = stored{object: object.Name, uid: object.UID, status: object.Status}
	}
	return out, nil
}

// texts has one copy of each of the strings that most apps have in common, commits above all: every status stays in memory.
type texts map[string]string

func (s texts) replace(status *AppStatusStatus) {
	for _, text := range []*string{&status.Revision, &status.RevisionShort, &status.Placement, &status.Proven} {
		*text = s.of(*text)
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		c.Type, c.Status, c.Reason, c.Message = s.of(c.Type), metav1.ConditionStatus(s.of(string(c.Status))), s.of(c.Reason), s.of(c.Message)
	}
}

func (s texts) of(text string) string {
	if known, ok := s[text]; ok {
		return known
	}
	s[text] = text
	return text
}

// apply writes the object without force first. A conflict means that another writer owns a field: a
// person who edited our object, which is ours again then, or another agent on this cluster with an app
// of the same name, which keeps the plain name: ours becomes <app>.<instance>.
func (c *clusterStore) apply(ctx context.Context, app, object string, status *AppStatusStatus) (stored, error) {
	written, err := c.patch(ctx, app, object, status, false)
	if !apierrors.IsConflict(err) {
		return written, err
	}
	live, err := c.client.Resource(GVR).Get(ctx, object, metav1.GetOptions{})
	if err != nil {
		return stored{}, fmt.Errorf("read AppStatus/%s after a conflict: %w", object, err)
	}
	if owner := live.GetLabels()[LabelInstance]; owner != c.instance && owner != "" {
		object = app + "." + c.instance
	}
	return c.patch(ctx, app, object, status, true)
}

func (c *clusterStore) patch(ctx context.Context, app, object string, status *AppStatusStatus, force bool) (stored, error) {
	body, err := json.Marshal(map[string]any{
		"apiVersion": GVK.GroupVersion().String(),
		"kind":       GVK.Kind,
		"metadata": map[string]any{
			"name":   object,
			"labels": map[string]string{LabelInstance: c.instance, LabelApp: app},
		},
		"status": status,
	})
	if err != nil {
		return stored{}, fmt.Errorf("encode AppStatus/%s: %w", object, err)
	}
	var live *unstructured.Unstructured
	live, err = c.client.Resource(GVR).Patch(ctx, object, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: c.manager, Force: &force})
	if err != nil {
		return stored{}, fmt.Errorf("apply AppStatus/%s: %w", object, err)
	}
	return stored{object: object, uid: live.GetUID(), status: *status}, nil
}

func (c *clusterStore) remove(ctx context.Context, object string, uid types.UID) error {
	err := c.client.Resource(GVR).Delete(ctx, object, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	// A conflict is another object of the same name: ours is gone.
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete AppStatus/%s: %w", object, err)
	}
	return nil
}
