package kube

import (
	"context"
	"sync"

	"github.com/go-logr/zerologr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// LogTo sends what the Kubernetes client libraries log, the errors of their background work
// included, to log. It sets process-wide state of those libraries: call it once, before any client
// is built.
func LogTo(log zerolog.Logger) {
	lib := log.With().Str("component", "client-go").Logger()
	// client-go reports the errors of its goroutines through klog too.
	klog.SetLogger(zerologr.New(&lib))
}

// maxWarnings bounds what is remembered of texts already logged.
const maxWarnings = 1000

// warnings logs the Warning headers of the API server, each text once.
type warnings struct {
	log  zerolog.Logger
	mu   sync.Mutex
	seen map[string]struct{}
}

func newWarnings(log zerolog.Logger) *warnings {
	return &warnings{log: log, seen: map[string]struct{}{}}
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	// 299 is the code of the warnings that are meant for people.
	if code != 299 || text == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[text]; ok {
		return
	}
	if len(w.seen) >= maxWarnings {
		clear(w.seen)
	}
	w.seen[text] = struct{}{}
	w.log.Warn().Str("warning", text).Msg("API server warning")
}
