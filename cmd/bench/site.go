package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// rare is a poll interval in which no poll happens by itself.
const rare = 10 * time.Minute

// site is a cluster on which everything of a fleet is live and ready, with a running agent.
type site struct {
	lab     *lab
	fleet   *fleetData
	cluster *localcluster.Cluster
	raw     *rest.RESTClient // of somebody else
	typed   kubernetes.Interface
	dataDir string
	clone   string // for the reference: a bare clone of the repository
	poll    time.Duration
	agent   *agentProcess // nil while stopped
}

// steady returns the site of a size with its agent running at the poll interval. There is one site at a
// time: asking for another size ends the former.
func (l *lab) steady(ctx context.Context, objects int, poll time.Duration) (*site, error) {
	if l.site != nil && l.site.fleet.objects != objects {
		if err := l.leave(); err != nil {
			return nil, err
		}
	}
	if l.site == nil {
		l.say("  preparing a cluster of %s objects", thousands(objects))
		s, err := l.settle(ctx, objects)
		l.site = s
		if err != nil {
			return nil, errors.Join(err, l.leave())
		}
	}
	if l.site.agent != nil && l.site.poll == poll {
		return l.site, nil
	}
	if err := l.site.stop(); err != nil {
		return nil, err
	}
	return l.site, l.site.start(ctx, poll)
}

// leave ends the site.
func (l *lab) leave() error {
	s := l.site
	l.site = nil
	if s == nil {
		return nil
	}
	return errors.Join(s.stop(), s.cluster.Stop())
}

// settle makes a site, up to the point where every app is ready and the agent has come to rest.
func (l *lab) settle(ctx context.Context, objects int) (*site, error) {
	f, err := l.fleet(ctx, objects)
	if err != nil {
		return nil, err
	}
	s := &site{lab: l, fleet: f, poll: rare}
	if s.cluster, err = l.cluster(ctx); err != nil {
		return nil, err
	}
	if s.raw, err = rawClient(s.cluster.Kubeconfig(), benchAgent); err != nil {
		return s, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", s.cluster.Kubeconfig())
	if err != nil {
		return s, err
	}
	cfg.UserAgent, cfg.QPS = benchAgent, -1
	if s.typed, err = kubernetes.NewForConfig(cfg); err != nil {
		return s, err
	}
	dir, err := l.temp("site")
	if err != nil {
		return s, err
	}
	s.dataDir, s.clone = filepath.Join(dir, "data"), filepath.Join(dir, "clone")
	if _, err := gittest.Git(ctx, dir, "clone", "--quiet", "--bare", f.repo.URL(), s.clone); err != nil {
		return s, err
	}
	requests, err := follow(s.cluster, "holdfast/")
	if err != nil {
		return s, err
	}
	if s.agent, err = l.startAgent(ctx, s.cluster, f, s.dataDir, rare); err != nil {
		return s, err
	}
	w := expect(f.items)
	err = until(ctx, "all objects live", 10*time.Minute, func() (bool, error) {
		if err := errors.Join(s.agent.alive(), requests.read()); err != nil {
			return false, err
		}
		return w.take(requests), nil
	})
	if err != nil {
		return s, err
	}
	if err := s.rollOut(ctx); err != nil {
		return s, err
	}
	if err := s.ready(ctx); err != nil {
		return s, err
	}
	return s, requests.quiet(ctx, 3*time.Second)
}

// rollOut does what the controllers of a whole cluster would: it reports every Deployment as rolled out.
func (s *site) rollOut(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range s.fleet.items {
		if s.fleet.items[i].Resource != "deployments" {
			continue
		}
		g.Go(func() error {
			status := `{"status": {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"},
				{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}}`
			return s.raw.Patch(types.MergePatchType).AbsPath(s.fleet.items[i].Path, "status").
				Param("fieldManager", "controller").Body([]byte(status)).Do(ctx).Error()
		})
	}
	return g.Wait()
}

// ready waits until the agent reports every app as ready.
func (s *site) ready(ctx context.Context) error {
	why := ""
	err := until(ctx, "every app ready", 5*time.Minute, func() (bool, error) {
		if err := s.agent.alive(); err != nil {
			return false, err
		}
		var report struct {
			Apps []struct {
				Name  string
				Ready bool
			}
		}
		if err := s.agent.get(ctx, "/api/v1/status", &report); err != nil {
			why = err.Error()
			return false, nil //nolint:nilerr // it may not listen yet
		}
		not := 0
		for _, a := range report.Apps {
			if !a.Ready {
				not++
			}
		}
		why = fmt.Sprintf("%d of %d apps are not ready", not, len(report.Apps))
		return not == 0 && len(report.Apps) > s.fleet.objects/perApp, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, why)
	}
	return nil
}

// get reads JSON from the agent; nil discards it.
func (a *agentProcess) get(ctx context.Context, path string, into any) error {
	return ask(ctx, http.MethodGet, "http://"+a.address, path, into)
}

// ask reads JSON from a process of the bench's; nil discards it.
func ask(ctx context.Context, method, address, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, address+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", path, res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// start starts the agent and waits until it has come to rest.
func (s *site) start(ctx context.Context, poll time.Duration) error {
	requests, err := follow(s.cluster, "holdfast/")
	if err != nil {
		return err
	}
	if err := s.launch(ctx, poll); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	return requests.quiet(ctx, 2*time.Second)
}

// launch starts the agent.
func (s *site) launch(ctx context.Context, poll time.Duration) (err error) {
	s.poll = poll
	s.agent, err = s.lab.startAgent(ctx, s.cluster, s.fleet, s.dataDir, poll)
	return err
}

// stop ends the agent and takes note of its memory.
func (s *site) stop() error {
	if s.agent == nil {
		return nil
	}
	err := errors.Join(s.agent.alive(), s.agent.stop())
	s.lab.peaks[s.fleet.objects] = append(s.lab.peaks[s.fleet.objects], s.agent.peak())
	s.agent = nil
	return err
}

// loseData removes the agent's data dir.
func (s *site) loseData() error { return os.RemoveAll(s.dataDir) }

// seen is an event of a watched ConfigMap.
type seen struct {
	name    string
	value   string
	deleted bool
	at      time.Time
}

// observer is the bench's own watch of ConfigMaps.
type observer struct {
	events chan seen
	stop   func()
}

// observe watches ConfigMaps from now on: one, or all of ours if the name is "".
func (s *site) observe(ctx context.Context, namespace, name string) (*observer, error) {
	options := metav1.ListOptions{LabelSelector: "app"}
	if name != "" {
		options = metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	}
	now, err := s.typed.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("watch ConfigMaps: %w", err)
	}
	options.ResourceVersion = now.ResourceVersion // else it would begin with how things are
	w, err := s.typed.CoreV1().ConfigMaps(namespace).Watch(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("watch ConfigMaps: %w", err)
	}
	// Room for all, so that a slow reader never falsifies a time.
	o := &observer{events: make(chan seen, 100_000), stop: w.Stop}
	go func() {
		defer close(o.events)
		for e := range w.ResultChan() {
			now := time.Now()
			if m, ok := e.Object.(*corev1.ConfigMap); ok {
				o.events <- seen{name: m.Name, value: m.Data["greeting"], deleted: e.Type == watch.Deleted, at: now}
			}
		}
	}()
	return o, nil
}

// await returns when an event satisfied the condition.
func (o *observer) await(ctx context.Context, what string, limit time.Duration, is func(seen) bool) (time.Time, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-o.events:
			if !ok {
				return time.Time{}, fmt.Errorf("%s: the watch ended", what)
			}
			if is(e) {
				return e.at, nil
			}
		case <-timer.C:
			return time.Time{}, fmt.Errorf("%s: not within %s", what, limit)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// live waits until a ConfigMap has the value.
func (o *observer) live(ctx context.Context, app int, value string) (time.Time, error) {
	name := appName(app)
	return o.await(ctx, fmt.Sprintf("ConfigMap %s with %q", name, value), time.Minute, func(e seen) bool {
		return e.name == name && !e.deleted && e.value == value
	})
}

// undone waits until a ConfigMap that somebody changed or deleted has the value again, and returns the time
// between the two events. Both are of one watch, so nothing that the bench does falsifies it.
func (o *observer) undone(ctx context.Context, app int, value string) (time.Duration, error) {
	name := appName(app)
	var disturbed time.Time
	at, err := o.await(ctx, fmt.Sprintf("ConfigMap %s with %q again", name, value), time.Minute, func(e seen) bool {
		if e.name != name {
			return false
		}
		wrong := e.deleted || e.value != value
		if wrong && disturbed.IsZero() {
			disturbed = e.at
		}
		return !wrong && !disturbed.IsZero()
	})
	return at.Sub(disturbed), err
}

func configMapPath(app int) string {
	return "/api/v1/namespaces/" + appNamespace(app) + "/configmaps/" + appName(app)
}

// disturb changes an app's ConfigMap as somebody else.
func (s *site) disturb(ctx context.Context, app int) error {
	err := s.raw.Patch(types.MergePatchType).AbsPath(configMapPath(app)).Param("fieldManager", "somebody").
		Body([]byte(`{"data": {"greeting": "drifted"}}`)).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("change ConfigMap %s: %w", appName(app), err)
	}
	return nil
}
