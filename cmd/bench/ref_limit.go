package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The user agents of the references.
const (
	limitAgent   = "bench-limit"
	applierAgent = "bench-applier"
	driftAgent   = "bench-drift"
	listsAgent   = "bench-lists"
	benchAgent   = "bench-foreign"
)

// clientConfig is for a client without a limit of its own.
func clientConfig(kubeconfig, userAgent string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent, cfg.QPS = userAgent, -1
	return cfg, nil
}

// rawClient is a client that sends what it is given.
func rawClient(kubeconfig, userAgent string) (*rest.RESTClient, error) {
	cfg, err := clientConfig(kubeconfig, userAgent)
	if err != nil {
		return nil, err
	}
	cfg.APIPath, cfg.GroupVersion = "/api", &schema.GroupVersion{Version: "v1"}
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(cfg)
}

// send applies one item.
func send(ctx context.Context, c rest.Interface, i *item, manager string) error {
	err := c.Patch(types.ApplyPatchType).AbsPath(i.Path).Param("fieldManager", manager).Param("force", "true").
		SetHeader("Accept", "application/json").Body([]byte(i.Body)).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("apply %s: %w", i.key(), err)
	}
	return nil
}

// sendAll applies items in their order, so many at a time.
func sendAll(ctx context.Context, c rest.Interface, items []item, manager string, concurrency int) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range concurrency {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return nil
				}
				if err := send(ctx, c, &items[i], manager); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// andWatch has LIMIT watch what it applies, as everybody must who wants to find drift, and throw away what it hears.
const andWatch = "watch"

// refLimit is LIMIT: it knows all in advance and does nothing but send the PATCHes.
// Arguments: kubeconfig, file of the items, concurrency; andWatch.
func refLimit(ctx context.Context, args []string) (any, error) {
	c, items, concurrency, err := patching(args, limitAgent)
	if err != nil {
		return nil, err
	}
	if len(args) > 3 && args[3] == andWatch {
		stop, err := watchAll(ctx, c, items)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	rest := 0
	for rest < len(items) && items[rest].Resource == "namespaces" {
		rest++
	}
	if err := sendAll(ctx, c, items[:rest], "holdfast", concurrency); err != nil {
		return nil, err
	}
	return nil, sendAll(ctx, c, items[rest:], "holdfast", concurrency)
}

// watchAll watches all kinds until it is stopped.
func watchAll(ctx context.Context, c rest.Interface, items []item) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	stop = func() {
		cancel()
		_ = g.Wait() // how a watch ends is of no interest
	}
	for path := range collections(items) {
		body, err := c.Get().AbsPath(path).Param("watch", "true").SetHeader("Accept", "application/json").Stream(ctx)
		if err != nil {
			stop()
			return nil, err
		}
		g.Go(func() error {
			defer body.Close() //nolint:errcheck // only read
			_, err := io.Copy(io.Discard, body)
			return err
		})
	}
	return stop, nil
}

// patching reads the arguments of a reference that sends PATCHes: kubeconfig, file of the items, concurrency.
func patching(args []string, userAgent string) (c *rest.RESTClient, items []item, concurrency int, err error) {
	if c, err = rawClient(args[0], userAgent); err != nil {
		return nil, nil, 0, err
	}
	if items, err = readItems(args[1]); err != nil {
		return nil, nil, 0, err
	}
	concurrency, err = strconv.Atoi(args[2])
	return c, items, concurrency, err
}

func readItems(file string) ([]item, error) {
	b, err := os.ReadFile(file) //nolint:gosec // the bench made it
	if err != nil {
		return nil, err
	}
	var items []item
	err = json.Unmarshal(b, &items)
	return items, err
}
