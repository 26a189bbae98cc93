package agent

import (
	"context"
	"errors"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/kube"
)

func dryRun(_ context.Context, _ Options, _ *kube.Clients, _ *gitsource.Source) error {
	return errors.New("not yet")
}
