package status

import (
	"bytes"
	"context"
	_ "embed" // for crd.yaml
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

//go:embed crd.yaml
var crd []byte

// CRD returns the CustomResourceDefinition of AppStatus as YAML: the file that the chart ships too.
func CRD() []byte { return bytes.Clone(crd) }

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const (
	crdPoll    = 100 * time.Millisecond
	crdTimeout = 30 * time.Second
)

// EnsureCRD makes sure that the cluster serves AppStatus, and returns when it does. Where the kind is
// missing it is created with the given field manager; an existing one is left as it is, whoever put it
// there. An error names the permission that is missing, if that is the cause; the agent can go on without
// AppStatus objects then, and try again later.
func EnsureCRD(ctx context.Context, client dynamic.Interface, fieldManager string) error {
	served, err := serves(ctx, client)
	if err != nil || served {
		return err
	}
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(crd, &object.Object); err != nil {
		return fmt.Errorf("decode the AppStatus CRD: %w", err)
	}
	_, err = client.Resource(crdResource).Create(ctx, object, metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("create CustomResourceDefinition/%s: it is missing and this agent lacks the permission "+
			"\"create customresourcedefinitions.apiextensions.k8s.io\"; grant it, or apply the CRD of the chart: %w", object.GetName(), err)
	case err != nil && !apierrors.IsAlreadyExists(err):
		return fmt.Errorf("create CustomResourceDefinition/%s: %w", object.GetName(), err)
	}
	return awaitServed(ctx, client)
}

// awaitServed polls until the API server serves AppStatus. It asks for the kind itself and not for the
// CRD's condition Established: that needs no further permission, and it is what matters.
func awaitServed(ctx context.Context, client dynamic.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, crdTimeout)
	defer cancel()
	tick := time.NewTicker(crdPoll)
	defer tick.Stop()
	for {
		served, err := serves(ctx, client)
		if err != nil || served {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the API server serves %s: %w", GVR.GroupResource(), ctx.Err())
		case <-tick.C:
		}
	}
}

func serves(ctx context.Context, client dynamic.Interface) (bool, error) {
	_, err := client.Resource(GVR).List(ctx, metav1.ListOptions{Limit: 1})
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, fmt.Errorf("list %s: %w", GVR.GroupResource(), err)
	}
}
