package main

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"
)

// refLists reads one LIST of each kind, side by side, and does nothing with it: the floor of a restart.
// Arguments: kubeconfig, file of the items.
func refLists(ctx context.Context, args []string) (any, error) {
	c, err := rawClient(args[0], listsAgent)
	if err != nil {
		return nil, err
	}
	items, err := readItems(args[1])
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for path := range collections(items) {
		g.Go(func() error {
			body, err := c.Get().AbsPath(path).SetHeader("Accept", "application/json").Stream(ctx)
			if err != nil {
				return err
			}
			defer body.Close() //nolint:errcheck // only read
			_, err = io.Copy(io.Discard, body)
			return err
		})
	}
	return nil, g.Wait()
}

// collections are the paths of all kinds that there are.
func collections(items []item) map[string]bool {
	paths := map[string]bool{}
	for i := range items {
		gvr := items[i].gvr()
		path := "/apis/" + gvr.Group + "/" + gvr.Version + "/" + gvr.Resource
		if gvr.Group == "" {
			path = "/api/" + gvr.Version + "/" + gvr.Resource
		}
		paths[path] = true
	}
	return paths
}
