package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// worktree commits fleet.yaml in a person's clone. It calls the git program, as that person would: their
// name, hooks, signature, line endings and whatever else they have set up then hold without further ado.
type worktree struct {
	git, dir string
	branch   string
	stderr   io.Writer // for what hooks write
}

// openWorktree checks all that can keep a commit of fleet.yaml from being made as it is meant.
func openWorktree(ctx context.Context, dir string, stderr io.Writer) (*worktree, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, errors.New("--commit needs the git program, which is not installed: leave --commit out")
	}
	w := &worktree{git: git, dir: dir, stderr: stderr}
	if inside, err := w.run(ctx, "rev-parse", "--is-inside-work-tree"); err != nil || inside != "true" {
		return nil, fmt.Errorf("%s is not in the work tree of a Git clone, so nothing can be committed there: leave --commit out", dir)
	}
	if w.branch, err = w.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD"); err != nil {
		return nil, errors.New("the clone is not on a branch: git switch to the one that agents follow")
	}
	for _, other := range []string{"MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"} {
		if _, err := w.run(ctx, "rev-parse", "--quiet", "--verify", other); err == nil {
			return nil, fmt.Errorf("the clone is in the middle of something else (%s): finish or abort that first", other)
		}
	}
	for _, who := range []string{"GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"} {
		if _, err := w.run(ctx, "var", who); err != nil {
			return nil, fmt.Errorf("git does not know who commits: %w", err)
		}
	}
	changed, err := w.run(ctx, "status", "--porcelain", "--untracked-files=all", "--", fleetFileName)
	if err != nil {
		return nil, err
	}
	if changed != "" {
		return nil, fmt.Errorf("%s has changes that are not committed: commit or undo them first, or leave --commit out", fleetFileName)
	}
	return w, nil
}

// commit commits fleet.yaml alone, whatever else is staged, and returns the short id.
func (w *worktree) commit(ctx context.Context, message string, added bool) (string, error) {
	if added {
		if _, err := w.run(ctx, "add", "--intent-to-add", "--", fleetFileName); err != nil {
			return "", err
		}
	}
	if _, err := w.run(ctx, "commit", "--quiet", "--only", "--message="+message, "--", fleetFileName); err != nil {
		return "", err
	}
	return w.run(ctx, "rev-parse", "--short", "HEAD")
}

// run runs git and returns its output, or an error with what it wrote.
func (w *worktree) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.git, args...) //nolint:gosec // fixed words and the person's own text
	cmd.Dir = w.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			return "", fmt.Errorf("git %s: %s", args[0], said)
		}
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	if args[0] == "commit" {
		_, _ = io.Copy(w.stderr, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}
