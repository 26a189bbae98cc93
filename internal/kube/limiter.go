package kube

import (
	"context"
	"net/http"
	"sync/atomic"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/client-go/util/flowcontrol"
)

// limiter limits requests until the API server shows that it does so itself, by API Priority and
// Fairness. Every answer says whether it does, so that no extra request is needed and a server that
// is down when the agent starts leaves no lasting limit.
type limiter struct {
	flowcontrol.RateLimiter
	fair atomic.Bool
}

func newLimiter(qps float32, burst int) *limiter {
	return &limiter{RateLimiter: flowcontrol.NewTokenBucketRateLimiter(qps, burst)}
}

// TryAccept implements flowcontrol.RateLimiter.
func (l *limiter) TryAccept() bool { return l.fair.Load() || l.RateLimiter.TryAccept() }

// Accept implements flowcontrol.RateLimiter.
func (l *limiter) Accept() {
	if !l.fair.Load() {
		l.RateLimiter.Accept()
	}
}

// Wait implements flowcontrol.RateLimiter.
func (l *limiter) Wait(ctx context.Context) error {
	if l.fair.Load() {
		return ctx.Err()
	}
	return l.RateLimiter.Wait(ctx)
}

// observe wraps a transport so that the limiter sees the answers.
func (l *limiter) observe(next http.RoundTripper) http.RoundTripper {
	return &observer{next: next, limit: l}
}

type observer struct {
	next  http.RoundTripper
	limit *limiter
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(req)
	if err == nil {
		o.limit.fair.Store(resp.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) != "")
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below, to close idle connections.
func (o *observer) WrappedRoundTripper() http.RoundTripper { return o.next }
