package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// pollCosts measures one poll of an unchanged branch.
func pollCosts(ctx context.Context, c *crowd) error {
	many := 10 * c.refs
	type variant struct {
		clusters int
		old      bool
	}
	variants := []variant{{c.refs, false}, {c.refs, true}, {0, false}, {many, false}, {many, true}}
	blocks := map[variant][]perBlock{}
	var floor []float64
	for range c.lab.samples() {
		for _, v := range variants {
			repo, err := c.shared(ctx, v.clusters)
			if err != nil {
				return err
			}
			b, err := c.pollBlock(ctx, repo, v.old)
			if err != nil {
				return fmt.Errorf("poll of %s: %w", repo.Name, err)
			}
			blocks[v] = append(blocks[v], b)
		}
		repo, err := c.shared(ctx, c.refs)
		if err != nil {
			return err
		}
		f, err := c.floor(ctx, repo)
		if err != nil {
			return err
		}
		floor = append(floor, f)
	}
	c.costs.poll = median(column(blocks[variants[0]], perBlock.theCPU))
	c.costs.pollBytes = median(column(blocks[variants[0]], perBlock.theBytes))
	c.costs.refs = c.refs
	c.costs.oldPollBytes = median(column(blocks[variants[1]], perBlock.theBytes))

	compare := func(what string, ours, theirs variant, reference, unit string, of func(perBlock) float64, t *target) row {
		return row{
			What: what, Unit: unit, Ours: column(blocks[ours], of),
			Reference: reference, Theirs: column(blocks[theirs], of), Target: t,
		}
	}
	with := func(n int) string { return thousands(n) + " status refs beside the branch: " }
	const v0, own = "protocol version 0, all refs", "status refs in a repository of their own"
	here, old, alone := variants[0], variants[1], variants[2]
	c.lab.add(
		compare(with(c.refs)+"requests", here, old, v0, "", perBlock.theRequests, worstAtMost(1)),
		compare(with(c.refs)+"bytes", here, old, v0, "B", perBlock.theBytes, nil),
		compare(with(c.refs)+"CPU of the server", here, old, v0, "ms", perBlock.theCPU, nil),
		compare(with(c.refs)+"time", here, old, v0, "ms", perBlock.theTime, nil),
		compare(with(c.refs)+"bytes", here, alone, own, "B", perBlock.theBytes, ratioAtMost(1.01)),
		compare(with(c.refs)+"CPU of the server", here, alone, own, "ms", perBlock.theCPU, nil),
		compare(with(many)+"bytes", variants[3], variants[4], v0, "B", perBlock.theBytes, nil),
		compare(with(many)+"CPU of the server", variants[3], variants[4], v0, "ms", perBlock.theCPU, nil),
	)
	front := median(column(blocks[here], func(b perBlock) float64 { return b.front }))
	c.lab.add(row{
		What: with(c.refs) + "CPU of the server", Unit: "ms", Ours: column(blocks[here], perBlock.theCPU),
		Reference: "one git process that answers all polls", Theirs: floor,
		Note: fmt.Sprintf("the server starts git http-backend and git upload-pack for each request; %s ms are the HTTP server's own", figure(front)),
	})
	return nil
}

// pollBlock polls a repository without a pause for a while.
func (c *crowd) pollBlock(ctx context.Context, repo *scaleRepo, old bool) (perBlock, error) {
	seed, err := c.seed(ctx, repo.url)
	if err != nil {
		return perBlock{}, err
	}
	dir, err := c.lab.temp("poll")
	if err != nil {
		return perBlock{}, err
	}
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(seed)); err != nil {
		return perBlock{}, err
	}
	if err := c.server.setOldProtocol(ctx, old); err != nil {
		return perBlock{}, err
	}
	var polls, requests int
	var took time.Duration
	var failed error
	source, err := gitsource.Open(ctx, gitsource.Options{
		URL: repo.url, DataDir: filepath.Join(dir, "data"), Poll: time.Millisecond, Log: zerolog.Nop(),
		Observe: func(a gitsource.Attempt) {
			polls++
			took += a.Duration
			if failed == nil {
				failed = a.Err
			}
			if polls > 1 { // the first one finds out what the server speaks
				requests += a.Requests
			}
		},
	})
	if err != nil {
		return perBlock{}, err
	}
	before, err := c.server.usage(ctx, true)
	if err != nil {
		return perBlock{}, err
	}
	during, cancel := context.WithTimeout(ctx, c.window(4*time.Second))
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { _ = source.Run(during) }) // it returns nil
	running.Wait()
	if err := source.Close(); err != nil {
		return perBlock{}, err
	}
	after, err := c.server.usage(ctx, true)
	switch {
	case err != nil:
		return perBlock{}, err
	case failed != nil:
		return perBlock{}, failed
	case polls < 2:
		return perBlock{}, errNothing
	}
	b := per(after.since(before), polls, took)
	b.requests = float64(requests) / float64(polls-1)
	return b, nil
}

// floor is the CPU time, in milliseconds, that git takes to answer a poll in a process that stays.
func (c *crowd) floor(ctx context.Context, repo *scaleRepo) (float64, error) {
	n := 2000
	if c.lab.quick {
		n = 50
	}
	line := func(s string) string { return fmt.Sprintf("%04x%s\n", len(s)+5, s) }
	poll := line("command=ls-refs") + line("object-format=sha1") + "0001" + line("ref-prefix refs/heads/main") + "0000"
	cmd := exec.CommandContext(ctx, "git", "upload-pack", repo.Dir) //nolint:gosec // ours
	cmd.Env = append(gittest.Environment(), "GIT_PROTOCOL=version=2")
	var out, failure bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(bytes.Repeat([]byte(poll), n), "0000"...)), &out, &failure
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("git upload-pack: %w: %s", err, bytes.TrimSpace(failure.Bytes()))
	}
	if got := bytes.Count(out.Bytes(), []byte(" refs/heads/main\n")); got != n {
		return 0, fmt.Errorf("git upload-pack answered %d of %d polls", got, n)
	}
	return milliseconds(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) / float64(n), nil
}
