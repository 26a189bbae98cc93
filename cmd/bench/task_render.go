package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/memory"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// renderer is what an agent keeps between two commits.
type renderer struct {
	loader *fleet.Loader
	cache  *render.Renderer
}

func newRenderer() *renderer {
	return &renderer{loader: fleet.NewLoader(), cache: render.NewRenderer()}
}

// render renders everything for a cluster and returns how long that took and how many apps were built.
func (r *renderer) render(ctx context.Context, t tree.Tree, commit, cluster string) (took time.Duration, built int, err error) {
	begin := time.Now()
	f, err := r.loader.Load(t)
	if err != nil {
		return 0, 0, err
	}
	res, err := render.Cluster(ctx, render.ClusterRequest{Head: t, HeadCommit: commit, Fleet: f, Name: cluster, Instance: "holdfast-system", Renderer: r.cache})
	if err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	for i := range res.Apps {
		if a := &res.Apps[i]; a.Err != nil || !a.Placed || len(a.Objects) == 0 {
			return 0, 0, fmt.Errorf("app %q: not rendered: %w", a.App.Name, a.Err)
		} else if a.Built {
			built++
		}
	}
	return took, built, nil
}

// renderAnswer is in seconds.
type renderAnswer struct {
	Full, Changed []float64
	Built         []int // apps of each change
	Twice         int   // files that one full render read more than once
	Files         int   // files that it read
}

// taskRender follows a repository as an agent does, renders the first commit, and then commits in which one
// app changes. Arguments: folder of the bare repository, its URL, how many commits.
func taskRender(ctx context.Context, args []string) (any, error) {
	memory.Tune(os.LookupEnv)
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return nil, err
	}
	repo, err := gittest.InitRepo(args[0]) //nolint:contextcheck // quick and local
	if err != nil {
		return nil, err
	}
	source, stop, err := followRepo(ctx, args[1], nil)
	if err != nil {
		return nil, err
	}
	defer stop()
	var a renderAnswer
	snapshot, err := next(ctx, source)
	if err != nil {
		return nil, err
	}
	r := newRenderer()
	cluster := overlayCluster(0)
	took, _, err := r.render(ctx, snapshot, snapshot.Commit, cluster)
	if err != nil {
		return nil, err
	}
	a.Full = append(a.Full, seconds(took))
	for k := range n {
		app := 7*k + 1
		content := configMap(app, fmt.Sprintf("change %d of process %d", k, os.Getpid()))
		if _, err := repo.Commit(gittest.Write(appDir(app)+"/base/configmap.yaml", content)); err != nil { //nolint:contextcheck // quick and local
			return nil, err
		}
		source.Poll()
		if snapshot, err = next(ctx, source); err != nil {
			return nil, err
		}
		took, built, err := r.render(ctx, snapshot, snapshot.Commit, cluster)
		if err != nil {
			return nil, err
		}
		a.Changed, a.Built = append(a.Changed, seconds(took)), append(a.Built, built)
	}
	counted := &countingTree{Tree: snapshot, reads: map[string]int{}}
	if _, _, err := newRenderer().render(ctx, counted, snapshot.Commit, cluster); err != nil {
		return nil, err
	}
	for _, times := range counted.reads {
		a.Files++
		if times > 1 {
			a.Twice++
		}
	}
	return a, nil
}

// countingTree counts how often each file is read.
type countingTree struct {
	tree.Tree
	mu    sync.Mutex
	reads map[string]int
}

// ReadFile counts and reads.
func (t *countingTree) ReadFile(path string) ([]byte, error) {
	t.mu.Lock()
	t.reads[path]++
	t.mu.Unlock()
	return t.Tree.ReadFile(path)
}

// followRepo runs a source that polls only when it is asked to. observe is told of each attempt.
func followRepo(ctx context.Context, url string, observe func(gitsource.Attempt)) (*gitsource.Source, func(), error) {
	dir, err := os.MkdirTemp("", "holdfast-bench-source-")
	if err != nil {
		return nil, nil, err
	}
	source, err := gitsource.Open(ctx, gitsource.Options{URL: url, DataDir: dir, Poll: rare, Log: zerolog.Nop(), Observe: observe})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = source.Run(ctx) }) // it returns nil
	return source, func() {
		cancel()
		running.Wait()
		_ = errors.Join(source.Close(), os.RemoveAll(dir)) // temporary
	}, nil
}

// next waits for news.
func next(ctx context.Context, s *gitsource.Source) (*gitsource.Snapshot, error) {
	select {
	case u := <-s.Updates():
		return u.Snapshot, u.Err
	case <-time.After(time.Minute):
		return nil, errors.New("no news from the repository within a minute")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// taskPreview renders every cluster of a repository in one process, with one cache, as a preview does.
// Argument: folder of the bare repository.
func taskPreview(ctx context.Context, args []string) (any, error) {
	snapshot, err := gitsource.OpenLocal(args[0], "")
	if err != nil {
		return nil, err
	}
	f, err := fleet.NewLoader().Load(snapshot)
	if err != nil {
		return nil, err
	}
	r := newRenderer()
	r.cache.ManyClusters = true // as a preview's
	begin, objects := time.Now(), 0
	for _, c := range f.Clusters {
		res, err := render.Cluster(ctx, render.ClusterRequest{Head: snapshot, HeadCommit: snapshot.Commit, Fleet: f, Name: c.Name, Instance: "holdfast-system", Renderer: r.cache})
		if err != nil {
			return nil, err
		}
		for i := range res.Apps {
			if res.Apps[i].Err != nil {
				return nil, res.Apps[i].Err
			}
			objects += len(res.Apps[i].Objects)
		}
	}
	return previewAnswer{Seconds: seconds(time.Since(begin)), Clusters: len(f.Clusters), Objects: objects, Peak: peakMemory(os.Getpid())}, nil
}

type previewAnswer struct {
	Seconds           float64
	Clusters, Objects int
	Peak              uint64 // bytes
}

// taskKustomize builds overlays with kustomize's own library, one after the other, as files on disk, and returns
// how many seconds that took. Arguments: folder, pattern of the overlays' folders.
func taskKustomize(_ context.Context, args []string) (any, error) {
	dirs, err := filepath.Glob(filepath.Join(args[0], args[1]))
	if err != nil {
		return nil, err
	}
	sort.Strings(dirs)
	begin := time.Now()
	for _, dir := range dirs {
		m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
		if err != nil {
			return nil, err
		}
		if m.Size() != perApp {
			return nil, fmt.Errorf("%s: %d objects, want %d", dir, m.Size(), perApp)
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("no overlay in %s", args[0])
	}
	return seconds(time.Since(begin)), nil
}

// plainAnswer is in seconds; Peak in bytes.
type plainAnswer struct {
	Ours, Parse []float64
}

// taskPlain renders the one large app of a folder, and parses its YAML, in turn. Arguments: folder, how often.
func taskPlain(ctx context.Context, args []string) (any, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, err
	}
	t, err := tree.Dir(args[0])
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // only read
	var a plainAnswer
	for range n {
		took, _, err := newRenderer().render(ctx, t, "", clusterName)
		if err != nil {
			return nil, err
		}
		a.Ours = append(a.Ours, seconds(took))
		parse, err := parseAll(filepath.Join(args[0], "apps/large"))
		if err != nil {
			return nil, err
		}
		a.Parse = append(a.Parse, seconds(parse))
	}
	return a, nil
}

// parseAll reads and parses the YAML files of a folder and does nothing with them.
func parseAll(dir string) (time.Duration, error) {
	begin := time.Now()
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), "part-") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name())) //nolint:gosec // the bench made it
		if err != nil {
			return 0, err
		}
		for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
			var v any
			err := d.Decode(&v)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return time.Since(begin), nil
}
