// Applier applies objects with cli-utils' Applier, server-side: a reference of cmd/bench. It is a program of its own
// since what it needs of kubectl alone takes tens of megabytes and a tenth of a second to start.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/cli-utils/pkg/apply"
	"sigs.k8s.io/cli-utils/pkg/apply/event"
	"sigs.k8s.io/cli-utils/pkg/common"
	"sigs.k8s.io/cli-utils/pkg/inventory"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := errors.New("usage: bench-applier KUBECONFIG FILE USER-AGENT")
	if len(os.Args) == 4 {
		err = run(ctx, os.Args[1], os.Args[2], os.Args[3])
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-applier:", err)
		os.Exit(3)
	}
}

// run applies the items that cmd/bench wrote to a file.
func run(ctx context.Context, kubeconfig, file, userAgent string) error {
	b, err := os.ReadFile(file) //nolint:gosec // cmd/bench made it
	if err != nil {
		return err
	}
	var items []struct{ Body json.RawMessage }
	if err := json.Unmarshal(b, &items); err != nil {
		return err
	}
	objects := make([]*unstructured.Unstructured, len(items))
	for i := range items {
		objects[i] = &unstructured.Unstructured{}
		if err := objects[i].UnmarshalJSON(items[i].Body); err != nil {
			return err
		}
	}
	options := genericclioptions.NewConfigFlags(false)
	options.KubeConfig = &kubeconfig
	options.WrapConfigFn = func(cfg *rest.Config) *rest.Config {
		cfg.UserAgent, cfg.QPS = userAgent, -1
		return cfg
	}
	factory := cmdutil.NewFactory(options)
	client, err := inventory.ClusterClientFactory{StatusPolicy: inventory.StatusPolicyNone}.NewClient(factory)
	if err != nil {
		return err
	}
	applier, err := apply.NewApplierBuilder().WithFactory(factory).WithInventoryClient(client).Build()
	if err != nil {
		return err
	}
	inventoryObject := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": "bench-inventory", "namespace": "default",
			"labels": map[string]any{common.InventoryLabel: "bench"},
		},
	}}
	events := applier.Run(ctx, inventory.WrapInventoryInfoObj(inventoryObject), objects, apply.ApplierOptions{
		ServerSideOptions: common.ServerSideOptions{ServerSideApply: true, ForceConflicts: true, FieldManager: "holdfast"},
		// Nothing makes a Deployment Current in a bare cluster, and 0 would wait for ever.
		ReconcileTimeout: time.Millisecond,
		InventoryPolicy:  inventory.PolicyMustMatch, // the default of its command
	})
	var errs []error
	for e := range events {
		switch {
		case e.Type == event.ErrorType:
			errs = append(errs, e.ErrorEvent.Err)
		case e.Type == event.ApplyType && e.ApplyEvent.Error != nil:
			errs = append(errs, e.ApplyEvent.Error)
		}
	}
	return errors.Join(errs...)
}
