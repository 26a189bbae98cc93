package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
)

// metadataOnly asks the server to leave everything but the metadata out of its answer.
const metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// target is one object's place on the API server.
type target struct {
	client rest.Interface
	res    kube.Resource
	id     object.ObjMetadata
}

func (t target) segments() []string {
	s := []string{"/apis", t.res.Group, t.res.Version}
	if t.res.Group == "" {
		s = []string{"/api", t.res.Version}
	}
	if t.id.Namespace != "" {
		s = append(s, "namespaces", t.id.Namespace)
	}
	return append(s, t.res.Plural, t.id.Name)
}

// patch sends a patch and returns the server's answer and whether the object was created. Of kinds
// that are judged by their metadata, such as Secrets, the answer is no more than that.
func (t target) patch(ctx context.Context, kind types.PatchType, body []byte, manager string, force bool) (raw []byte, created bool, err error) {
	var code int
	req := t.client.Patch(kind).AbsPath(t.segments()...).Param("fieldManager", manager).Body(body).
		SetHeader("Accept", accept(!live.MetadataOnly(t.id.GroupKind)))
	if kind == types.ApplyPatchType {
		req = req.Param("force", fmt.Sprint(force))
	}
	raw, err = answer(req.Do(ctx).StatusCode(&code))
	return raw, code == http.StatusCreated, t.absent(err)
}

// get reads the object; ErrAbsent if the server says that it does not exist.
func (t target) get(ctx context.Context, whole bool) ([]byte, error) {
	raw, err := answer(t.client.Get().AbsPath(t.segments()...).SetHeader("Accept", accept(whole)).Do(ctx))
	return raw, t.absent(err)
}

// delete deletes the object if its UID is that one still. It tells whether the object is gone; if
// not, it waits for its finalizers. With foreground that takes until all that the object owns is gone, such as
// the Pods of a Deployment.
func (t target) delete(ctx context.Context, uid types.UID, foreground bool) (gone bool, err error) {
	policy := metav1.DeletePropagationBackground
	if foreground {
		policy = metav1.DeletePropagationForeground
	}
	body, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:          metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		Preconditions:     &metav1.Preconditions{UID: &uid},
		PropagationPolicy: &policy,
	})
	if err != nil {
		return false, fmt.Errorf("encode delete options: %w", err)
	}
	raw, err := answer(t.client.Delete().AbsPath(t.segments()...).SetHeader("Content-Type", "application/json").Body(body).Do(ctx))
	if err = t.absent(err); err != nil {
		return errors.Is(err, errAbsent), err
	}
	// The answer is a Status when the object is gone, and the object itself while it is on its way.
	var answer metav1.TypeMeta
	if err := json.Unmarshal(raw, &answer); err != nil {
		return false, fmt.Errorf("decode the answer to a deletion: %w", err)
	}
	return answer.Kind == "Status", nil
}

// answer returns the body, or the error with the server's own account of it, which Raw leaves out.
func answer(res rest.Result) ([]byte, error) {
	if err := res.Error(); err != nil {
		return nil, err
	}
	return res.Raw()
}

// errAbsent: the server knows the resource and says that this object does not exist.
var errAbsent = errors.New("not found")

// absent tells the server's two kinds of NotFound apart: that of the object, which means that it is
// gone, and that of the resource (its CustomResourceDefinition was removed), which says nothing
// about the object.
func (t target) absent(err error) error {
	var s apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &s) {
		return err
	}
	if d := s.Status().Details; d != nil && d.Name == t.id.Name && (d.Kind == t.res.Plural || d.Kind == t.res.Kind) {
		return fmt.Errorf("%w: %w", errAbsent, err)
	}
	if d := s.Status().Details; d != nil && d.Kind == "namespaces" {
		return err
	}
	return &NoMatchError{Kind: t.id.GroupKind}
}

func accept(whole bool) string {
	if whole {
		return "application/json"
	}
	return metadataOnly
}
