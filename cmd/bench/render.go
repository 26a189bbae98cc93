package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// overlays measures the rendering of 300 apps with overlays.
func overlays(ctx context.Context, l *lab) error {
	apps := 300
	if l.quick {
		apps = 60
	}
	repo, dir, err := l.publish(fmt.Sprintf("overlays-%d", apps), overlayFleet(apps, 1)) //nolint:contextcheck // quick and local
	if err != nil {
		return err
	}
	var full, changed, kustomize []float64
	var last renderAnswer
	for range l.samples() {
		last = renderAnswer{}
		if err := l.task(ctx, &last, "render", repo.Dir, repo.URL(), strconv.Itoa(10)); err != nil {
			return err
		}
		full, changed = append(full, last.Full...), append(changed, last.Changed...)
		var took float64
		if err := l.task(ctx, &took, "kustomize", dir, "apps/*/*/overlays/prod"); err != nil {
			return err
		}
		kustomize = append(kustomize, took)
	}
	cores := runtime.NumCPU()
	what := fmt.Sprintf("%d overlays: ", apps)
	built := 0
	for _, n := range last.Built {
		built = max(built, n)
	}
	l.add(
		row{What: what + "full render", Unit: "s", Ours: full, Reference: "kustomize in series", Theirs: kustomize, Target: ratioAtMost(1 / float64(cores)),
			Note: fmt.Sprintf("the limit is what %d cores would make of it", cores)},
		row{What: what + "files read more than once", Unit: "", Ours: []float64{float64(last.Twice)}, Target: atMost(0), Note: fmt.Sprintf("of %d", last.Files)},
		row{What: what + "one app changed", Unit: "s", Ours: changed, Reference: "the full render", Theirs: full, Target: ratioAtMost(1.0 / 50)},
		row{What: what + "one app changed, apps built", Unit: "", Ours: []float64{float64(built)}, Target: worstAtMost(1)},
	)
	return nil
}

// preview measures the memory of rendering for every cluster of a fleet in one process.
func preview(ctx context.Context, l *lab) error {
	apps, clusters := 300, 50
	if l.quick {
		apps, clusters = 60, 5
	}
	repo, _, err := l.publish(fmt.Sprintf("preview-%d", apps), overlayFleet(apps, clusters)) //nolint:contextcheck // quick and local
	if err != nil {
		return err
	}
	var memory, took []float64
	for range l.samples() {
		var a previewAnswer
		if err := l.task(ctx, &a, "preview", repo.Dir); err != nil {
			return err
		}
		memory, took = append(memory, float64(a.Peak)/(1<<20)), append(took, a.Seconds)
	}
	what := fmt.Sprintf("%d apps x %d clusters in one process: ", apps, clusters)
	l.add(
		row{What: what + "peak memory", Unit: "MiB", Ours: memory, Target: worstAtMost(300)},
		row{What: what + "time", Unit: "s", Ours: took},
	)
	return nil
}

// plain measures one app of 5,000 objects that only lists them.
func plain(ctx context.Context, l *lab) error {
	n := l.size(5000)
	_, dir, err := l.publish(fmt.Sprintf("plain-%d", n), plainFleet(n)) //nolint:contextcheck // quick and local
	if err != nil {
		return err
	}
	var a plainAnswer
	if err := l.task(ctx, &a, "plain", dir, strconv.Itoa(l.samples()+2)); err != nil {
		return err
	}
	l.add(row{What: fmt.Sprintf("one app of %s objects, listed", thousands(n)), Unit: "s", Ours: a.Ours, Reference: "parsing its YAML", Theirs: a.Parse, Target: ratioAtMost(2)})
	return nil
}

// gitFetch measures a repository of 20,000 files.
func gitFetch(ctx context.Context, l *lab) error {
	files := 20000
	if l.quick {
		files = 2000
	}
	repo, _, err := l.publish(fmt.Sprintf("files-%d", files), manyFiles(files)) //nolint:contextcheck // quick and local
	if err != nil {
		return err
	}
	for i := range 20 { // some history
		if _, err := repo.Write("apps/app-0001/base/file-1.yaml", fmt.Sprintf("change: %d\n", i)); err != nil { //nolint:contextcheck // quick and local
			return err
		}
	}
	if _, err := repo.Git("gc", "--quiet"); err != nil { //nolint:contextcheck // quick and local
		return err
	}
	var clone, theirClone, fetch, theirFetch, peak []float64
	idle := math.Inf(1)
	for range l.samples() {
		var a gitAnswer
		if err := l.task(ctx, &a, "git", repo.Dir, repo.URL(), strconv.Itoa(10)); err != nil {
			return err
		}
		clone, theirClone = append(clone, a.Clone), append(theirClone, a.TheirClone)
		fetch, theirFetch = append(fetch, a.Fetch...), append(theirFetch, a.TheirFetch...)
		peak, idle = append(peak, float64(a.Peak)/(1<<20)), min(idle, float64(a.Idle)/(1<<20))
	}
	what := thousands(files) + " files: "
	l.add(
		row{What: what + "fetch of one commit", Unit: "ms", Ours: fetch, Reference: "git fetch", Theirs: theirFetch, Target: ratioAtMost(1.5)},
		row{What: what + "clone", Unit: "ms", Ours: clone, Reference: "git clone --bare --depth=1", Theirs: theirClone},
		row{What: what + "peak memory, clone included", Unit: "MiB", Ours: peak, Target: worstAtMost(60), Note: fmt.Sprintf("the measuring program holds %s MiB before it does anything", figure(idle))},
	)
	return nil
}

// publish commits files to a new repository of the Git server, and writes them to a folder as well.
func (l *lab) publish(name string, files map[string]string) (*gittest.Repo, string, error) {
	repo, err := l.git.NewRepo(name)
	if err != nil {
		return nil, "", err
	}
	if _, err := repo.Commit(gittest.Files(files)); err != nil {
		return nil, "", err
	}
	dir := filepath.Join(l.dir, name)
	for file, content := range files {
		path := filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			return nil, "", err
		}
	}
	return repo, dir, nil
}
