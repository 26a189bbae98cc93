package apply

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Step is what would be done to one object.
type Step struct {
	ID  object.ObjMetadata
	App string
	// Verb is "create", "configure", "unchanged", "prune", "hold" (a prune that would wait) or "fail".
	Verb string
	// Detail names the fields that would change and whose they are, or why the object is held or fails.
	Detail string
}

// Plan tells, object by object, what the Engine's desired state would do to the cluster. It asks the
// API server by dry runs and writes nothing. The order is that of the work.
func Plan(ctx context.Context, e *Engine, x *Executor, now time.Time) []Step {
	var steps []Step
	for _, o := range e.objs {
		step := Step{ID: o.id, App: o.app}
		switch {
		case o.desired != nil && o.bad != nil:
			step.Verb, step.Detail = "fail", o.bad.Error()
		case o.desired != nil:
			x.try(ctx, e, o, &step)
		case e.orphan(o):
			step.Verb = "prune"
			if why := e.held(o, now); why != "" {
				step.Verb, step.Detail = "hold", why
			}
		default:
			continue
		}
		steps = append(steps, step)
	}
	for _, a := range e.apps {
		for _, bad := range a.Invalid {
			steps = append(steps, Step{ID: bad.ID, App: a.Name, Verb: "fail", Detail: bad.Err.Error()})
		}
	}
	sort.Slice(steps, func(i, j int) bool {
		if p, q := steps[i].Verb == "prune" || steps[i].Verb == "hold", steps[j].Verb == "prune" || steps[j].Verb == "hold"; p != q {
			return q
		}
		return before(steps[i].ID, steps[j].ID)
	})
	return steps
}

// try asks the server what an apply would do.
func (x *Executor) try(ctx context.Context, e *Engine, o *entry, step *Step) {
	fail := func(err error) { step.Verb, step.Detail = "fail", kube.Explain(err) }
	at, err := x.target(ctx, Task{ID: o.id, Object: o.desired})
	if notServed(err) && e.brings(o) {
		step.Verb, step.Detail = "create", "after its CustomResourceDefinition"
		return
	}
	if err != nil {
		fail(classify(err, o.id.GroupKind))
		return
	}
	now, err := x.read(ctx, at)
	if err != nil && !errors.Is(err, errAbsent) {
		fail(classify(err, o.id.GroupKind))
		return
	}
	if now != nil {
		if owner := now.GetLabels()[render.LabelInstance]; owner != "" && owner != x.instance {
			fail(&ConflictError{Owner: fmt.Sprintf("it belongs to the Holdfast instance %q", owner)})
			return
		}
	}
	body := o.desired.JSON
	if a := e.apps[o.app]; a != nil && len(a.Ignore[o.id]) > 0 && now != nil {
		desired, err := o.desired.Unstructured()
		if err == nil {
			body, err = x.leaving(desired, now, a.Ignore[o.id])
		}
		if err != nil {
			fail(err)
			return
		}
	}
	after, taken, err := x.dryRun(ctx, at, o, body)
	switch {
	case apierrors.IsNotFound(err) && now == nil && e.brings(o):
		step.Verb, step.Detail = "create", "after its Namespace"
	case err != nil:
		fail(classify(err, o.id.GroupKind))
	case now == nil:
		step.Verb = "create"
	default:
		step.Verb, step.Detail = "unchanged", ""
		if fields := changedFields(now, after); len(fields) > 0 {
			step.Verb, step.Detail = "configure", strings.Join(fields, ", ")
		}
		if taken != "" {
			step.Detail = strings.TrimPrefix(step.Detail+"; "+taken, "; ")
		}
	}
}

func notServed(err error) bool {
	var missing *NoMatchError
	return errors.As(classify(err, object.ObjMetadata{}.GroupKind), &missing)
}

// brings tells whether the desired state holds what the object waits for.
func (e *Engine) brings(o *entry) bool { return len(o.deps) > 0 }

// dryRun applies without effect, and says from whom fields would be taken.
func (x *Executor) dryRun(ctx context.Context, at target, o *entry, body []byte) (*unstructured.Unstructured, string, error) {
	send := func(force bool) ([]byte, error) {
		return answer(at.client.Patch(types.ApplyPatchType).AbsPath(at.segments()...).
			Param("fieldManager", x.manager).Param("force", fmt.Sprint(force)).Param("dryRun", "All").
			Body(body).SetHeader("Accept", "application/json").Do(ctx))
	}
	taken := ""
	raw, err := send(o.rec != nil && o.rec.Hash != "")
	if apierrors.IsConflict(err) {
		taken = "takes over from others: " + strings.TrimPrefix(kube.Explain(err), "other field managers own what we declare: ")
		raw, err = send(true)
	}
	if err != nil {
		return nil, "", err
	}
	u, err := decode(raw)
	return u, taken, err
}

// maxChanged bounds the fields that a Step names.
const maxChanged = 8

// changedFields lists the paths, never the values, at which two states of an object differ.
func changedFields(before, after *unstructured.Unstructured) []string {
	was, err1 := typed.DeducedParseableType.FromUnstructured(declared(before))
	will, err2 := typed.DeducedParseableType.FromUnstructured(declared(after))
	if err1 != nil || err2 != nil {
		return []string{"(cannot be compared)"}
	}
	c, err := was.Compare(will)
	if err != nil {
		return []string{"(cannot be compared)"}
	}
	var fields []string
	c.Added.Union(c.Modified).Union(c.Removed).Leaves().Iterate(func(p fieldpath.Path) { fields = append(fields, p.String()) })
	sort.Strings(fields)
	if len(fields) > maxChanged {
		fields = append(fields[:maxChanged], fmt.Sprintf("and %d more", len(fields)-maxChanged))
	}
	return fields
}

// declared is an object without what the server keeps.
func declared(u *unstructured.Unstructured) map[string]any {
	c := u.DeepCopy()
	c.SetManagedFields(nil)
	c.SetResourceVersion("")
	c.SetGeneration(0)
	unstructured.RemoveNestedField(c.Object, "status")
	return c.Object
}
