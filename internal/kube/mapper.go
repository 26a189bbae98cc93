package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
)

// Resource is a kind as the API server serves it.
type Resource struct {
	schema.GroupVersionKind
	// Plural is the name in the URL, as in "deployments".
	Plural string
	// Namespaced tells the scope.
	Namespaced bool
	// Watchable is false for the few kinds that can be read but not watched.
	Watchable bool
	// Scalable tells that the kind has a scale subresource, which an HPA may write.
	Scalable bool
}

// GVR returns the group, version and resource that clients ask for.
func (r Resource) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Plural}
}

// GroupResource returns the resource without its version: what is watched once.
func (r Resource) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Plural}
}

// retryAfter is how old a negative answer must be before the server is asked again. It bounds both
// the requests for a kind that stays away, and how late a new CustomResourceDefinition is seen.
const retryAfter = 100 * time.Millisecond

// Mapper finds the resource of a kind. It is safe for concurrent use.
//
// A positive answer is kept until Forget or Reset. A negative one is a *meta.NoKindMatchError (see
// meta.IsNoMatchError) and is kept for a tenth of a second. Every other error means that
// nothing is known; it is not kept at all.
type Mapper struct {
	client rest.Interface
	now    func() time.Time

	mu       sync.Mutex
	versions map[schema.GroupVersion]*served
	groups   map[string]*preferred
}

// served is what one group and version serves. Its own lock makes concurrent callers share one request.
type served struct {
	mu    sync.Mutex
	kinds map[string]Resource
	asked time.Time
}

// preferred is the versions of a group, in the order to try them.
type preferred struct {
	mu       sync.Mutex
	versions []string
	asked    time.Time
}

// NewMapper returns an empty Mapper that asks through client, whose base path is the server's root.
func NewMapper(client rest.Interface) *Mapper {
	m := &Mapper{client: client, now: time.Now}
	m.Reset()
	return m
}

// Reset forgets everything.
func (m *Mapper) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions = map[schema.GroupVersion]*served{}
	m.groups = map[string]*preferred{}
}

// Forget drops what is known of a group: after its CustomResourceDefinition changed, or when the
// server answered NotFound for the resource itself.
func (m *Mapper) Forget(group string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.groups, group)
	for gv := range m.versions {
		if gv.Group == group {
			delete(m.versions, gv)
		}
	}
}

// Resolve finds the resource of a kind in exactly that version.
func (m *Mapper) Resolve(ctx context.Context, gvk schema.GroupVersionKind) (Resource, error) {
	gv := gvk.GroupVersion()
	m.mu.Lock()
	s, ok := m.versions[gv]
	if !ok {
		s = &served{}
		m.versions[gv] = s
	}
	m.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.kinds[gvk.Kind]; ok {
		return r, nil
	}
	if s.asked.IsZero() || m.now().Sub(s.asked) >= retryAfter {
		kinds, err := m.discover(ctx, gv)
		if err != nil {
			return Resource{}, fmt.Errorf("discover %s: %w", gv, err)
		}
		s.kinds, s.asked = kinds, m.now()
	}
	if r, ok := s.kinds[gvk.Kind]; ok {
		return r, nil
	}
	return Resource{}, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
}

// ResolveKind finds the resource of a kind in the version that the server prefers: for objects of
// which only the kind is known, such as those in the inventory that Git no longer declares.
func (m *Mapper) ResolveKind(ctx context.Context, gk schema.GroupKind) (Resource, error) {
	versions, err := m.groupVersions(ctx, gk.Group)
	if err != nil {
		return Resource{}, fmt.Errorf("discover group %q: %w", gk.Group, err)
	}
	for _, v := range versions {
		r, err := m.Resolve(ctx, gk.WithVersion(v))
		if err == nil || !meta.IsNoMatchError(err) {
			return r, err
		}
	}
	return Resource{}, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
}

// groupVersions lists a group's versions, the preferred one first; none if there is no such group.
func (m *Mapper) groupVersions(ctx context.Context, group string) ([]string, error) {
	if group == "" {
		return []string{"v1"}, nil
	}
	m.mu.Lock()
	g, ok := m.groups[group]
	if !ok {
		g = &preferred{}
		m.groups[group] = g
	}
	m.mu.Unlock()

	g.mu.Lock()
	defer g.mu.Unlock()
	// The list is asked for again whenever a kind may have come in a new version: it is one small
	// request, and only prunes and restarts ask.
	if !g.asked.IsZero() && m.now().Sub(g.asked) < retryAfter {
		return g.versions, nil
	}
	var list metav1.APIGroup
	if err := m.get(ctx, "/apis/"+group, &list); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	g.versions, g.asked = order(list), m.now()
	return g.versions, nil
}

// order puts the preferred version first, then the others from the most to the least stable.
func order(g metav1.APIGroup) []string {
	out := make([]string, 0, len(g.Versions))
	for _, v := range g.Versions {
		out = append(out, v.Version)
	}
	slices.SortStableFunc(out, func(a, b string) int {
		if first := g.PreferredVersion.Version; a == first || b == first {
			return cmp.Compare(rank(a == first), rank(b == first))
		}
		return version.CompareKubeAwareVersionStrings(b, a)
	})
	return out
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// discover lists what a group and version serves. A version that is not served has no kinds; any
// other failure is an error.
func (m *Mapper) discover(ctx context.Context, gv schema.GroupVersion) (map[string]Resource, error) {
	path := "/apis/" + gv.String()
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	var list metav1.APIResourceList
	if err := m.get(ctx, path, &list); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil //nolint:nilnil // nothing is served there, which is an answer
		}
		return nil, err
	}
	scalable := map[string]bool{}
	for _, r := range list.APIResources {
		if name, ok := strings.CutSuffix(r.Name, "/scale"); ok {
			scalable[name] = true
		}
	}
	kinds := map[string]Resource{}
	for _, r := range list.APIResources {
		if strings.Contains(r.Name, "/") {
			continue // a subresource
		}
		kinds[r.Kind] = Resource{
			GroupVersionKind: gv.WithKind(r.Kind),
			Plural:           r.Name,
			Namespaced:       r.Namespaced,
			Watchable:        slices.Contains(r.Verbs, "watch"),
			Scalable:         scalable[r.Name],
		}
	}
	return kinds, nil
}

func (m *Mapper) get(ctx context.Context, path string, into any) error {
	raw, err := m.client.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}
