package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// hidden are the programs that the bench runs as processes of their own: references ("ref"), and tasks
// ("task") that print a JSON value.
var hidden = map[string]func(ctx context.Context, args []string) (any, error){
	"ref limit": refLimit,
	"ref drift": refDrift,
	"ref lists": refLists,

	"task render":    taskRender,
	"task preview":   taskPreview,
	"task kustomize": taskKustomize,
	"task plain":     taskPlain,
	"task git":       taskGit,
	"task serve":     taskServe,
}

func runHidden(ctx context.Context, args []string) error {
	if len(args) < 2 || hidden[args[0]+" "+args[1]] == nil {
		return fmt.Errorf("unknown %q", args)
	}
	v, err := hidden[args[0]+" "+args[1]](ctx, args[2:])
	if err != nil || v == nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}
