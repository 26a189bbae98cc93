package httpapi

import (
	"errors"
	"net/http"
	"strings"
)

// maxBody is the largest webhook body: GitHub's own limit.
const maxBody = 25 << 20

// sync answers POST /api/v1/sync. Nothing of the request is believed before it is authentic.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) {
	secret, err := s.options.Token()
	if err != nil {
		s.options.Log.Error().Err(err).Msg("webhook secret cannot be read")
		fail(w, http.StatusServiceUnavailable, "the webhook secret cannot be read; see the agent's log")
		return
	}
	if secret == "" {
		fail(w, http.StatusForbidden, "no webhook secret is configured: put one under the key "+TokenName+" into the agent's credentials")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	call, err := authenticate(r, secret)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		fail(w, http.StatusRequestEntityTooLarge, "the body is larger than 25 MiB")
		return
	case errors.Is(err, errUnsigned), errors.Is(err, errWrong):
		s.options.Log.Warn().Str("remote", r.RemoteAddr).Str("reason", err.Error()).Msg("webhook refused")
		w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
		fail(w, http.StatusUnauthorized, err.Error())
		return
	case err != nil:
		fail(w, http.StatusBadRequest, "the body could not be read")
		return
	}
	s.act(w, &call)
}

// act does what an authentic call asks for.
func (s *Server) act(w http.ResponseWriter, c *call) {
	log := s.options.Log.With().Str("from", c.from).Str("event", c.event).Logger()
	switch c.kind() {
	case kindPing:
		log.Info().Msg("webhook ping")
		answer(w, http.StatusOK, map[string]string{"status": "pong"})
		return
	case kindOther:
		log.Debug().Msg("webhook ignored")
		answer(w, http.StatusAccepted, map[string]string{"status": "ignored: not a push"})
		return
	case kindPush:
	}
	ref, known := c.ref()
	if known && s.options.Branch != "" && ref != "refs/heads/"+strings.TrimPrefix(s.options.Branch, "refs/heads/") {
		log.Debug().Msg("webhook ignored")
		answer(w, http.StatusAccepted, map[string]string{"status": "ignored: other branch"})
		return
	}
	log.Info().Msg("webhook asks for a sync")
	s.options.Poll()
	answer(w, http.StatusAccepted, map[string]string{"status": "accepted"})
}
