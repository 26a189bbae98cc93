package httpapi

import (
	"fmt"
	"net/http"
	"time"
)

// Beat says that the loop is alive. The loop calls it on every turn, and at least a few times within
// StuckAfter.
func (s *Server) Beat() {
	now := time.Now()
	s.beat.Store(&now)
}

// stuck returns for how long the loop has been silent, if that is too long. The times come from one process, so
// the difference is monotonic: setting the clock stops nothing.
func stuck(beat, now time.Time, limit time.Duration) (time.Duration, bool) {
	silent := now.Sub(beat)
	return silent, silent > limit
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if silent, bad := stuck(*s.beat.Load(), time.Now(), s.options.StuckAfter); bad {
		text(w, http.StatusServiceUnavailable, fmt.Sprintf("the loop has been stuck for %s\n", silent.Round(time.Second)))
		return
	}
	text(w, http.StatusOK, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.options.Ready(); err != nil {
		text(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		return
	}
	text(w, http.StatusOK, "ok\n")
}
