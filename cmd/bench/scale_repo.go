package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// reportedApps is how many apps each simulated cluster reports.
const reportedApps = 20

// scaleCluster is the name of a simulated cluster.
func scaleCluster(i int) string { return fmt.Sprintf("cluster-%05d", i) }

// scaleReport is what a cluster reports. Each change of it makes another report.
func scaleReport(cluster string, at time.Time, change int64) status.Report {
	at = at.UTC().Truncate(time.Second)
	since := at.Add(-time.Hour)
	r := status.Report{
		APIVersion: status.APIVersion, Cluster: cluster, Labels: map[string]string{"region": "r" + cluster[len(cluster)-1:], "env": "prod"},
		Agent: "v0.1.0", Time: at, Commit: someHash("head", 40), Fetched: &at,
	}
	for i := range reportedApps {
		name := appName(i)
		a := status.App{
			Name: name, Revision: someHash(name, 40), Placement: r.Commit, Proven: someHash(name, 40), Content: someHash(cluster+name, 16),
			Ready: true, Since: &since, Replicas: status.Replicas{Desired: 6, Ready: 6}, Objects: 12,
			Held: []status.Held{}, Errors: []status.ObjectError{},
		}
		if i == 0 {
			a.Drift = status.Drift{Corrected: change, Last: &at}
		}
		r.Apps = append(r.Apps, a)
	}
	return r
}

func someHash(of string, digits int) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:])[:digits]
}

// scaleRepo is a repository at the Git server.
type scaleRepo struct {
	*gittest.Repo
	url string
}

// repo makes a repository with a branch of some files and the refs of so many clusters.
func (c *crowd) repo(ctx context.Context, name string, clusters int) (*scaleRepo, error) {
	r, err := gittest.InitRepo(filepath.Join(c.server.dir, name+".git")) //nolint:contextcheck // quick and local
	if err != nil {
		return nil, err
	}
	if _, err := r.Commit(gittest.Files(manyFiles(500))); err != nil { //nolint:contextcheck // quick and local
		return nil, err
	}
	repo := &scaleRepo{r, c.server.URL + "/" + name + ".git"}
	if err := repo.report(ctx, clusters, 0); err != nil {
		return nil, err
	}
	return repo, nil
}

// report points the refs of the first clusters at new reports: what their pushes would do, at once. As they
// do, it leaves each ref and each object in a file of its own.
func (r *scaleRepo) report(ctx context.Context, clusters int, change int64) error {
	if clusters == 0 {
		return nil
	}
	var in bytes.Buffer
	now := time.Now()
	for i := range clusters {
		cluster := scaleCluster(i)
		content, err := json.MarshalIndent(scaleReport(cluster, now, change), "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(&in, "commit %s\ncommitter holdfast %s <%[2]s@holdfast.invalid> %d +0000\ndata 6\nStatus\nM 100644 inline %s\ndata %d\n%s\n",
			statusbus.Ref(cluster), cluster, now.Unix(), statusbus.File, len(content), content)
	}
	cmd := exec.CommandContext(ctx, "git", "-c", "fastimport.unpackLimit=1000000", "fast-import", "--quiet", "--force")
	cmd.Dir, cmd.Env, cmd.Stdin = r.Dir, gittest.Environment(), &in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write the reports of %d clusters: %w: %s", clusters, err, bytes.TrimSpace(out))
	}
	return nil
}

// collect runs git gc in the repository, and returns how long it took and its CPU.
func (r *scaleRepo) collect(ctx context.Context, args ...string) (took, cpu time.Duration, err error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"gc", "--quiet"}, args...)...) //nolint:gosec // ours
	cmd.Dir, cmd.Env = r.Dir, gittest.Environment()
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("git gc: %w: %s", err, bytes.TrimSpace(out))
	}
	return time.Since(begin), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// disk is what a repository takes on the disk, in bytes of whole blocks, and in how many files.
func (r *scaleRepo) disk() (size int64, files int, err error) {
	err = filepath.WalkDir(r.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // collected just now
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			size += stat.Blocks * 512
		}
		if !d.IsDir() {
			files++
		}
		return nil
	})
	return size, files, err
}
