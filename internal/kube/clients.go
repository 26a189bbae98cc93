package kube

import (
	"fmt"

	"github.com/rs/zerolog"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Clients are the ways to reach one cluster. They share connections, user agent and limit.
type Clients struct {
	// Config is what they were built from, for whoever needs a client of another type.
	Config *rest.Config
	// Dynamic reads and writes whole objects of any kind.
	Dynamic dynamic.Interface
	// Metadata reads the metadata of objects, so that their contents never leave the server.
	Metadata metadata.Interface
	// Kubernetes is for Events, ConfigMaps and what else has Go types.
	Kubernetes kubernetes.Interface
	// Discovery asks what the server serves. It does not cache; Mapper does.
	Discovery *discovery.DiscoveryClient
	// Mapper turns kinds into resources.
	Mapper *Mapper
}

// New builds the clients. It sends no request, so that an agent can start while the API server is
// down. Warnings of the server (deprecated versions, unknown fields) go to the log, each text once.
func New(cfg *rest.Config, log zerolog.Logger) (*Clients, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandlerWithContext = newWarnings(log)
	http, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("build the HTTP client: %w", err)
	}
	c := &Clients{Config: cfg}
	if c.Dynamic, err = dynamic.NewForConfigAndClient(cfg, http); err != nil {
		return nil, fmt.Errorf("build the dynamic client: %w", err)
	}
	if c.Metadata, err = metadata.NewForConfigAndClient(cfg, http); err != nil {
		return nil, fmt.Errorf("build the metadata client: %w", err)
	}
	if c.Kubernetes, err = kubernetes.NewForConfigAndClient(cfg, http); err != nil {
		return nil, fmt.Errorf("build the typed client: %w", err)
	}
	if c.Discovery, err = discovery.NewDiscoveryClientForConfigAndClient(cfg, http); err != nil {
		return nil, fmt.Errorf("build the discovery client: %w", err)
	}
	c.Mapper = NewMapper(c.Discovery.RESTClient())
	return c, nil
}
