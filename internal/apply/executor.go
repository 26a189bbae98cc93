package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// requestTimeout bounds one task. An admission webhook may take thirty seconds.
const requestTimeout = 90 * time.Second

// Executor carries out tasks. It is safe for concurrent use.
type Executor struct {
	client   rest.Interface
	mapper   *kube.Mapper
	manager  string
	instance string
	// namespace is the agent's own, which is never deleted.
	namespace string
}

// NewExecutor returns an Executor that writes as the field manager, for the instance.
func NewExecutor(c *kube.Clients, manager, instance, namespace string) *Executor {
	return &Executor{
		client: c.Discovery.RESTClient(), mapper: c.Mapper,
		manager: manager, instance: instance, namespace: namespace,
	}
}

// Do carries out one task. Cancelling ctx with the cause ErrSuperseded gives that error.
func (x *Executor) Do(ctx context.Context, t Task) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r := Result{Task: t, Outcome: Failed}
	switch t.Action {
	case Apply:
		x.apply(ctx, &r)
	case Prune:
		x.prune(ctx, &r)
	}
	if r.Err != nil {
		r.Outcome = Failed
		if errors.Is(context.Cause(ctx), ErrSuperseded) {
			r.Err = ErrSuperseded
		} else {
			r.Err = classify(r.Err, t.ID.GroupKind)
		}
	}
	r.Took = time.Since(start)
	return r
}

// target finds the object's place; see ErrScope.
func (x *Executor) target(ctx context.Context, t Task) (target, error) {
	var res kube.Resource
	var err error
	if t.Object != nil {
		res, err = x.mapper.Resolve(ctx, t.Object.GVK())
	} else {
		res, err = x.mapper.ResolveKind(ctx, t.ID.GroupKind)
	}
	if err != nil {
		return target{}, err
	}
	if res.Namespaced != (t.ID.Namespace != "") {
		return target{}, ErrScope
	}
	return target{client: x.client, res: res, id: t.ID}, nil
}

// apply sends the desired object: without force while it is not known to be ours, then always with.
func (x *Executor) apply(ctx context.Context, r *Result) {
	at, err := x.target(ctx, r.Task)
	if err != nil {
		r.Err = err
		return
	}
	t := r.Task
	body, err := x.body(ctx, at, &t)
	if err != nil {
		r.Err = err
		return
	}
	r.Task.Drifted = t.Drifted
	raw, created, err := at.patch(ctx, types.ApplyPatchType, body, x.manager, !t.First)
	switch {
	case t.First && apierrors.IsConflict(err):
		raw, err = x.adopt(ctx, at, body, t, nil)
	case t.First && apierrors.IsInvalid(err):
		// What Git no longer has and the tool before us put there may be what does not fit: two ports
		// of the same name, of which only one is still wanted.
		raw, err = x.adopt(ctx, at, body, t, err)
	}
	if kube.IsImmutable(err) && t.Replace {
		raw, err = x.replace(ctx, at, body)
		r.Outcome = Replaced
	}
	view, err := x.view(raw, err, t)
	switch {
	case err != nil:
	case t.First && !created && live.Declared(view.Managed, x.manager):
		// The object was there, and nobody objected because the values were the same. Fields that only
		// the tool before us declares would stay for ever.
		raw, err = x.takeOver(ctx, at, body, t, live.Adopted)
		view, err = x.view(raw, err, t)
	case t.Cause == Drift && !t.Missing && !live.Same(view.Fingerprint, t.Fingerprint):
		// A value that somebody put inside a map which we declared empty survives an apply.
		raw, err = x.takeOver(ctx, at, body, t, x.inside)
		view, err = x.view(raw, err, t)
	}
	if err != nil {
		x.noMatch(err, at)
		r.Err = err
		return
	}
	x.finish(r, view, created)
}

// inside takes what others put into the maps that we declared empty.
func (x *Executor) inside(now *unstructured.Unstructured) live.Take {
	return live.Inside(now, x.manager)
}

// human takes what people's tools added.
func human(*unstructured.Unstructured) live.Take { return live.Human }

// finish fills in the result of a successful apply.
func (x *Executor) finish(r *Result, view live.View, created bool) {
	if r.Outcome == Failed {
		switch {
		case created:
			r.Outcome = Created
		case view.ResourceVersion == r.Task.ResourceVersion:
			r.Outcome = Unchanged
		default:
			r.Outcome = Configured
		}
	}
	if r.Task.Cause == Drift && !r.Task.Missing {
		report := live.Blame(r.Task.Drifted, view.Managed, x.manager)
		if r.Task.Human {
			report = live.Merge(report, live.HumanFields(r.Task.Drifted, x.manager, nil, r.Task.Ignore))
		}
		r.Managers, r.Fields = report.Managers, report.Fields
	}
	r.Live = &view
}

// body is what to send: the desired object, changed only where fields are left to others. What is live
// has to be read for that, unless it is known that nothing of what is left to others is ours, and in Strict mode to
// take over what people added; t.Drifted is then what was read.
func (x *Executor) body(ctx context.Context, at target, t *Task) ([]byte, error) {
	if len(t.Ignore) == 0 && !t.Human {
		return t.Object.JSON, nil
	}
	desired, err := t.Object.Unstructured()
	if err != nil {
		return nil, err
	}
	if t.NotReplicas && !t.Human && live.OnlyImplied(desired, t.Ignore) {
		return t.Object.JSON, nil
	}
	now, err := x.read(ctx, at)
	if errors.Is(err, errAbsent) {
		return t.Object.JSON, nil
	}
	if err == nil && t.Human {
		t.Drifted = now.GetManagedFields()
		now, err = x.take(ctx, at, now, *t, human)
	}
	if err != nil {
		return nil, err
	}
	return x.leaving(desired, now, t.Ignore)
}

// leaving encodes a desired object so that ignored fields stay as they are live.
func (x *Executor) leaving(desired, now *unstructured.Unstructured, ignore []string) ([]byte, error) {
	b, err := json.Marshal(live.Body(desired, now, x.manager, ignore).Object)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}

// adopt takes over an object that others own fields of, unless it is another instance's. That an
// object's fields are contested is only known once the server has said so, with a conflict. An object
// that the server finds invalid is only adopted if there is something to take over; else invalid is the
// answer.
func (x *Executor) adopt(ctx context.Context, at target, body []byte, t Task, invalid error) ([]byte, error) {
	now, err := x.metadata(ctx, at)
	if invalid != nil && (err != nil || !live.Declared(now.ManagedFields, x.manager)) {
		return nil, invalid
	}
	if errors.Is(err, errAbsent) { // gone in between
		raw, _, err := at.patch(ctx, types.ApplyPatchType, body, x.manager, false)
		return raw, err
	}
	if err != nil {
		return nil, err
	}
	if owner := now.GetLabels()[render.LabelInstance]; owner != "" && owner != x.instance {
		app := now.GetLabels()[render.LabelApp]
		return nil, &ConflictError{Owner: fmt.Sprintf("it belongs to app %q of the Holdfast instance %q", app, owner)}
	}
	return x.takeOver(ctx, at, body, t, live.Adopted)
}

// takeOver makes fields of others ours and applies with force, so that what Git does not have goes.
func (x *Executor) takeOver(ctx context.Context, at target, body []byte, t Task, which func(*unstructured.Unstructured) live.Take) ([]byte, error) {
	now, err := x.read(ctx, at)
	if err != nil {
		return nil, err
	}
	if _, err := x.take(ctx, at, now, t, which); err != nil {
		return nil, err
	}
	raw, _, err := at.patch(ctx, types.ApplyPatchType, body, x.manager, true)
	return raw, err
}

// take moves fields of others into our managedFields entry; it returns the object as it is then.
func (x *Executor) take(ctx context.Context, at target, now *unstructured.Unstructured, t Task, which func(*unstructured.Unstructured) live.Take) (*unstructured.Unstructured, error) {
	version := t.Object.GVK().GroupVersion().String()
	for range 5 {
		patch, err := live.Takeover(now, x.manager, version, t.Ignore, which(now))
		if err != nil || patch == nil {
			return now, err
		}
		raw, _, err := at.patch(ctx, types.JSONPatchType, patch, x.manager, false)
		if err == nil {
			return decode(raw)
		}
		if !apierrors.IsConflict(err) {
			return nil, err
		}
		if now, err = x.read(ctx, at); err != nil { // it changed meanwhile
			return nil, err
		}
	}
	return nil, errors.New("others keep changing the object while it is taken over")
}

// replace deletes the object and creates it as desired, when the server would have it no other way.
func (x *Executor) replace(ctx context.Context, at target, body []byte) ([]byte, error) {
	if kind := at.id.GroupKind.Kind; fleet.ProtectedKind(kind) {
		return nil, fmt.Errorf("the change is to an immutable field, and a %s is not replaced: more would be lost than the object", kind)
	}
	now, err := x.metadata(ctx, at)
	if err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	if err == nil {
		if v, why := judge(now, x.instance, x.namespace, nil); v != mayDelete {
			return nil, fmt.Errorf("the change is to an immutable field, and the object cannot be replaced: %s", why)
		}
		if err := x.deleteAndWait(ctx, at, now.UID); err != nil {
			return nil, fmt.Errorf("replace: %w", err)
		}
	}
	raw, _, err := at.patch(ctx, types.ApplyPatchType, body, x.manager, true)
	return raw, err
}

func (x *Executor) deleteAndWait(ctx context.Context, at target, uid types.UID) error {
	gone, err := at.delete(ctx, uid, false)
	for !gone {
		if err != nil && !errors.Is(err, errAbsent) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("its finalizers take too long: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
		_, err = x.metadata(ctx, at)
		gone = errors.Is(err, errAbsent)
	}
	return nil
}

// prune deletes an orphan if its live state allows it.
func (x *Executor) prune(ctx context.Context, r *Result) {
	at, err := x.target(ctx, r.Task)
	if errors.Is(err, ErrScope) {
		r.Outcome = Pruned // there can be no object of that id
		return
	}
	if err != nil {
		r.Err = err
		return
	}
	now, err := x.metadata(ctx, at)
	if errors.Is(err, errAbsent) {
		r.Outcome = Pruned
		return
	}
	if err != nil {
		x.noMatch(err, at)
		r.Err = err
		return
	}
	runs := !live.MetadataOnly(r.Task.ID.GroupKind) && !fleet.ProtectedKind(r.Task.ID.GroupKind.Kind)
	if v, why := judge(now, x.instance, x.namespace, r.Task.SameAs); v != mayDelete {
		if v == release && r.Task.Last && runs {
			r.Err = fmt.Errorf("%s, so it may go on running here, and the app may run on one cluster only: change that, or delete it by hand", why)
			return
		}
		r.Outcome, r.Why = Released, why
		return
	}
	if r.Task.Absent {
		view := live.Observe(now, x.manager, nil)
		view.Managed = nil
		r.Live, r.Outcome = &view, Unchanged
		return
	}
	if now.DeletionTimestamp == nil {
		gone, err := at.delete(ctx, now.UID, r.Task.Last && runs)
		if gone {
			r.Outcome = Pruned
			return
		}
		if err != nil {
			r.Err = err
			return
		}
	}
	view := live.Observe(now, x.manager, nil)
	view.Deleting = true
	view.Managed = nil
	r.Live, r.Outcome = &view, Deleting
}

func (x *Executor) read(ctx context.Context, at target) (*unstructured.Unstructured, error) {
	raw, err := at.get(ctx, true)
	if err != nil {
		return nil, err
	}
	return decode(raw)
}

func (x *Executor) metadata(ctx context.Context, at target) (*metav1.PartialObjectMetadata, error) {
	raw, err := at.get(ctx, false)
	if err != nil {
		return nil, err
	}
	m := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("decode metadata: %w", err)
	}
	m.SetGroupVersionKind(at.res.GroupVersionKind)
	return m, nil
}

// view reduces the server's answer, if there is one.
func (x *Executor) view(raw []byte, err error, t Task) (live.View, error) {
	if err != nil {
		return live.View{}, err
	}
	if !live.MetadataOnly(t.ID.GroupKind) {
		u, err := decode(raw)
		if err != nil {
			return live.View{}, err
		}
		return live.Observe(u, x.manager, t.Ignore), nil
	}
	m := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(raw, m); err != nil {
		return live.View{}, fmt.Errorf("decode metadata: %w", err)
	}
	m.SetGroupVersionKind(t.Object.GVK())
	return live.Observe(m, x.manager, t.Ignore), nil
}

// noMatch forgets what is known of a group that turned out not to be served any more.
func (x *Executor) noMatch(err error, at target) {
	var gone *NoMatchError
	if errors.As(err, &gone) {
		x.mapper.Forget(at.res.Group)
	}
}

func decode(raw []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	return u, nil
}
