// Package httpapi is the agent's HTTP server.
//
//	GET  /               what is served here
//	GET  /healthz        200 while the loop moves, 503 when it is stuck: for the liveness probe
//	GET  /readyz         200 once the cluster is watched and desired state is known, 503 with the reason before
//	GET  /metrics        Prometheus
//	GET  /api/v1/status  what this cluster reports, as JSON
//	POST /api/v1/sync    fetch now: push webhooks, and people with the token
//
// The server decides nothing: it asks functions that the agent gives it ([Options]) and calls Poll. There is no
// authentication on what only reads, so what it is given must hold no secret.
//
// A webhook only ever causes a poll of the repository that the agent follows anyway. Its payload is
// never trusted further than to leave out polls for other branches. The signature covers the whole
// body, which is hashed as it streams by; only its beginning is kept.
package httpapi
