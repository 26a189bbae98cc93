package kube

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// Limits for a server without API Priority and Fairness, in requests per second. The client
// library's own default (5) would make the first sync of a large repository take many minutes.
const (
	fallbackQPS   = 50
	fallbackBurst = 100
)

// Config reads how to reach the cluster: from the kubeconfig file, else from the file or files that
// the environment variable KUBECONFIG names, else from the service account of the pod it runs in.
// ~/.kube/config is deliberately not a default: an agent must never act on a cluster because
// somebody was once logged in there.
//
// userAgent goes with every request and is what an audit log shows. No request is sent here.
func Config(kubeconfig, userAgent string) (*rest.Config, error) {
	cfg, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = userAgent
	// JSON throughout: server-side apply answers carry fieldsV1 as it is hashed.
	cfg.ContentType = runtime.ContentTypeJSON
	cfg.AcceptContentTypes = runtime.ContentTypeJSON
	ownConnections(cfg)
	limit := newLimiter(fallbackQPS, fallbackBurst)
	cfg.RateLimiter = limit
	cfg.Wrap(limit.observe)
	rereadToken(cfg)
	return cfg, nil
}

// receiveBuffer is how many bytes of an answer the server may send before they are read: what waits is held in memory, and an
// agent that starts has an answer for each kind, which arrive faster than they can be made sense of. The HTTP/2 library would
// take 4 MiB of each. It is no less than this, since a server that has to wait with a watch soon ends it, and those of others
// that are late at that moment: about a thousand events fit in.
const receiveBuffer = 1 << 20

// ownConnections bounds what the connections of clients that are made from the configuration buffer. It has to be the first
// that wraps the transport.
func ownConnections(cfg *rest.Config) {
	// The client library shares connections between clients that are alike, unless they dial by themselves.
	cfg.Dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		inner := rt
		for {
			switch t := inner.(type) {
			case *http.Transport:
				t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: receiveBuffer}
				return rt
			case utilnet.RoundTripperWrapper:
				inner = t.WrappedRoundTripper()
			default:
				return rt
			}
		}
	})
}

// rereadToken has a token that the server refuses read from its file again at once. The client library by
// itself sends an expired one for up to a minute after the file was replaced.
func rereadToken(cfg *rest.Config) {
	if cfg.BearerTokenFile == "" {
		return
	}
	source := transport.NewCachedFileTokenSource(cfg.BearerTokenFile)
	cfg.BearerToken, cfg.BearerTokenFile = "", ""
	cfg.Wrap(transport.ResettableTokenSourceWrapTransport(source))
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		if _, err := os.Stat(kubeconfig); err != nil {
			return nil, fmt.Errorf("read kubeconfig: %w (check --kubeconfig)", err)
		}
		return fromFiles(&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, "kubeconfig "+kubeconfig)
	}
	if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" {
		return fromFiles(clientcmd.NewDefaultClientConfigLoadingRules(), "KUBECONFIG="+env)
	}
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("no cluster to connect to: not running in a pod, and neither --kubeconfig nor KUBECONFIG is set")
	}
	if err != nil {
		return nil, fmt.Errorf("read the pod's service account: %w (is automountServiceAccountToken on?)", err)
	}
	return cfg, nil
}

func fromFiles(rules *clientcmd.ClientConfigLoadingRules, from string) (*rest.Config, error) {
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("%s names no cluster: set a current-context in it", from)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", from, err)
	}
	return cfg, nil
}
