package localcluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // for the pinned versions
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// CacheEnv names the environment variable that moves the folder into which the servers
// are built; by default it is holdfast/localcluster in os.UserCacheDir.
const CacheEnv = "HOLDFAST_LOCALCLUSTER_CACHE"

//go:embed binaries/pinned.mod
var pinnedMod []byte

//go:embed binaries/pinned.sum
var pinnedSum []byte

// programs are what a full cluster runs, by the name of the file and its package. The
// small ones come first: when the network or the toolchain is the problem, one learns it early.
var programs = []struct{ name, pkg string }{
	{"etcd", "go.etcd.io/etcd/server/v3"},
	{"kwok", "sigs.k8s.io/kwok/cmd/kwok"},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
}

// stages are the files in kwok's module that make nodes and Pods Ready; kwok plays nothing
// without them.
var stages = []string{
	"node/fast/node-initialize.yaml",
	"node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
	"pod/fast/pod-ready.yaml",
	"pod/fast/pod-complete.yaml",
	"pod/fast/pod-delete.yaml",
}

// unusedFor is how long the servers of other versions stay in the cache after
// their last use.
const unusedFor = 14 * 24 * time.Hour

// BuildError is returned when a server cannot be built. Unwrap gives what made it fail.
type BuildError struct {
	Program string // the name of the program, or of the step
	Output  string // the end of what go said
	Advice  string // what to do about it
	Err     error
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("build %s for the local cluster: %v\n%s\n%s", e.Program, e.Err, indent(e.Output), e.Advice)
}

func (e *BuildError) Unwrap() error { return e.Err }

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}

// Build builds the servers if the cache does not have them, and returns the folder they are
// in. Start does it too; a program calls Build to do it ahead, for example to keep
// it out of a test's time limit. Progress goes to progress, one line a step.
func Build(ctx context.Context, progress io.Writer) (string, error) {
	root := os.Getenv(CacheEnv)
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder (set %s): %w", CacheEnv, err)
		}
		root = filepath.Join(user, "holdfast", "localcluster")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return builder{root: root, mod: pinnedMod, sum: pinnedSum, progress: progress}.build(ctx)
}

// builder builds the programs that mod and sum pin into a folder below root.
type builder struct {
	root     string
	mod, sum []byte
	progress io.Writer
}

func (b builder) build(ctx context.Context) (string, error) {
	dir := filepath.Join(b.root, b.key())
	if b.complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(b.root, 0o750); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	unlock, err := lockFile(ctx, dir+".lock", func() {
		b.say("another process is building the servers of the local cluster; waiting for it")
	})
	if err != nil {
		return "", fmt.Errorf("lock the cache folder: %w", err)
	}
	defer unlock()
	if b.complete(dir) {
		return dir, nil
	}
	// Built beside and renamed when whole: a folder with the final name is complete.
	work := dir + ".building"
	if err := b.buildInto(ctx, work); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("replace a damaged cache folder: %w", err)
	}
	if err := os.Rename(work, dir); err != nil {
		return "", fmt.Errorf("keep the built servers: %w", err)
	}
	b.removeUnused(dir)
	return dir, nil
}

// key names what the programs are built from and by.
func (b builder) key() string {
	h := sha256.New()
	for _, part := range [][]byte{b.mod, b.sum, []byte(runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH)} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// complete also marks the folder as used today, for removeUnused.
func (b builder) complete(dir string) bool {
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(dir, p.name)); err != nil {
			return false
		}
	}
	for _, s := range stages {
		if _, err := os.Stat(filepath.Join(dir, filepath.Base(s))); err != nil {
			return false
		}
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // a cache on a read-only disk is still a cache
	return true
}

func (b builder) buildInto(ctx context.Context, work string) error {
	begin := time.Now()
	if err := os.MkdirAll(work, 0o750); err != nil {
		return fmt.Errorf("make the build folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(work, "go.mod"), b.mod, 0o600); err != nil {
		return fmt.Errorf("write the pinned versions: %w", err)
	}
	if err := os.WriteFile(filepath.Join(work, "go.sum"), b.sum, 0o600); err != nil {
		return fmt.Errorf("write the pinned checksums: %w", err)
	}
	b.say("building the servers of the local cluster once into %s; this takes some minutes", b.root)
	for i, p := range programs {
		b.say("  %d/%d %s", i+1, len(programs), p.name)
		args := []string{"build", "-trimpath", "-ldflags", b.ldflags(), "-o", p.name, p.pkg}
		if _, err := b.goCommand(ctx, work, p.name, args...); err != nil {
			return err
		}
	}
	out, err := b.goCommand(ctx, work, "kwok's stages", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
	if err != nil {
		return err
	}
	for _, s := range stages {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(out), "kustomize", "stage", filepath.FromSlash(s)))
		if err != nil {
			return fmt.Errorf("read kwok's stage: %w", err)
		}
		if err := os.WriteFile(filepath.Join(work, filepath.Base(s)), data, 0o600); err != nil {
			return fmt.Errorf("keep kwok's stage: %w", err)
		}
	}
	b.say("built the servers in %s", time.Since(begin).Round(time.Second))
	return nil
}

var kubernetesVersion = regexp.MustCompile(`k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)`)

// ldflags drop the symbols, which halves the files, and set the version that the API server
// reports: without one clients fail to parse it.
func (b builder) ldflags() string {
	flags := "-s -w"
	if m := kubernetesVersion.FindSubmatch(b.mod); m != nil {
		const v = " -X k8s.io/component-base/version."
		flags += fmt.Sprintf(v+"gitVersion=%s"+v+"gitMajor=%s"+v+"gitMinor=%s", m[1], m[2], m[3])
	}
	return flags
}

// goCommand runs go in work, apart from the workspace and the build flags of whoever calls.
func (b builder) goCommand(ctx context.Context, work, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("build %s for the local cluster: %w", program, context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return "", &BuildError{Program: program, Err: err, Advice: "Install Go (https://go.dev/dl) and put it in PATH."}
	}
	return "", &BuildError{
		Program: program,
		Output:  lastLines(stderr.Bytes(), 20),
		Advice: fmt.Sprintf("What was built so far is kept: run it again once the cause is gone. "+
			"For more detail run in %s: go %s", work, strings.Join(quoteArgs(args), " ")),
		Err: err,
	}
}

func quoteArgs(args []string) []string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if strings.ContainsAny(a, " {}") {
			quoted[i] = "'" + a + "'"
		}
	}
	return quoted
}

// removeUnused drops the servers of other versions that nobody has used for a while.
// It is housekeeping: what it cannot do is left for the next time.
func (b builder) removeUnused(current string) {
	entries, err := os.ReadDir(b.root)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(b.root, e.Name())
		info, err := e.Info()
		if err != nil || !e.IsDir() || path == current || time.Since(info.ModTime()) < unusedFor {
			continue
		}
		if err := os.RemoveAll(path); err == nil {
			b.say("removed servers of another version, unused since %s", info.ModTime().Format(time.DateOnly))
		}
	}
}

func (b builder) say(format string, args ...any) {
	// Progress that cannot be written is no reason to stop building.
	_, _ = fmt.Fprintf(b.progress, "localcluster: "+format+"\n", args...)
}

func lastLines(data []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

func readTail(path string, n int) string {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || len(data) == 0 {
		return "(no output)"
	}
	if err != nil {
		return err.Error()
	}
	return lastLines(data, n)
}
