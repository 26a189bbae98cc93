package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// garbage measures what pushes leave on the server: each one replaces a commit, a tree and a file.
func garbage(ctx context.Context, c *crowd) error {
	pushes, refs := 2000, c.refs
	if c.lab.quick {
		pushes = 100
	}
	repo, err := c.repo(ctx, "garbage", refs)
	if err != nil {
		return err
	}
	before, _, err := repo.disk()
	if err != nil {
		return err
	}
	two := question{what: "2 clusters asked for, 1 moved", moved: 1}
	fresh, err := c.readBlocks(ctx, repo, two)
	if err != nil {
		return err
	}
	if done, err := c.pushMany(ctx, repo, pushes); err != nil || done.failed > 0 {
		return errors.Join(err, done.err)
	}
	after, files, err := repo.disk()
	if err != nil {
		return err
	}
	full, err := c.readBlocks(ctx, repo, two)
	if err != nil {
		return err
	}
	still := question{what: "2 clusters asked for, none moved"}
	loose, err := c.readBlocks(ctx, repo, still)
	if err != nil {
		return err
	}
	count := thousands(pushes) + " pushes: "
	c.costs.garbage = float64(after-before) / float64(pushes)
	c.lab.add(
		row{
			What: count + "growth on the disk for each", Unit: "kB", Ours: []float64{c.costs.garbage / 1000},
			Note: fmt.Sprintf("git keeps the three objects of each push as files of their own, of one block at least: %s files afterwards", thousands(files)),
		},
		row{
			What: count + "list of 2 clusters and fetch of 1, CPU of the server", Unit: "ms", Ours: column(full, perBlock.theCPU),
			Reference: "before them", Theirs: column(fresh, perBlock.theCPU),
		},
		row{
			What: count + "list of 2 clusters and fetch of 1, time", Unit: "ms", Ours: column(full, perBlock.theTime),
			Reference: "before them", Theirs: column(fresh, perBlock.theTime),
		},
	)
	for _, gc := range []struct {
		what string
		args []string
	}{
		{"git gc with Git's defaults, which keep what nothing refers to for two weeks", nil},
		{"git gc --prune=now", []string{"--prune=now"}},
	} {
		took, cpu, err := repo.collect(ctx, gc.args...)
		if err != nil {
			return err
		}
		size, files, err := repo.disk()
		if err != nil {
			return err
		}
		c.lab.add(row{
			What: count + "size after " + gc.what, Unit: "MB", Ours: []float64{float64(size) / 1e6},
			Reference: "before it", Theirs: []float64{float64(after) / 1e6},
			Note: fmt.Sprintf("it took %s s, %s s of CPU, and left %s files", figure(seconds(took)), figure(seconds(cpu)), thousands(files)),
		})
	}
	packed, err := c.readBlocks(ctx, repo, still)
	if err != nil {
		return err
	}
	c.lab.add(row{
		What: fmt.Sprintf("list of 2 clusters among %s after git gc, CPU of the server", thousands(refs)), Unit: "ms", Ours: column(packed, perBlock.theCPU),
		Reference: "before it", Theirs: column(loose, perBlock.theCPU), Note: "git gc puts all refs into one file; a push makes a file of one again",
	})
	return c.unattended(ctx)
}

// readBlocks reads as often as there are samples.
func (c *crowd) readBlocks(ctx context.Context, repo *scaleRepo, q question) ([]perBlock, error) {
	var blocks []perBlock
	for range c.lab.samples() {
		b, _, err := c.readBlock(ctx, repo, q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.what, err)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// pushed is what became of many pushes.
type pushed struct {
	took   []float64 // milliseconds, of those that did not fail
	failed int
	err    error // the first one
}

// pushMany has four clusters push so often in all.
func (c *crowd) pushMany(ctx context.Context, repo *scaleRepo, pushes int) (p pushed, err error) {
	attempts, err := c.push(ctx, repo, 4, 10*time.Minute, pushes)
	if err != nil {
		return p, fmt.Errorf("%d pushes to %s: %w", pushes, repo.Name, err)
	}
	for _, a := range attempts {
		if a.Err == nil {
			p.took = append(p.took, milliseconds(a.Duration))
			continue
		}
		p.failed++
		if p.err == nil {
			p.err = a.Err
		}
	}
	// A push that was called off may go on there.
	_, err = c.server.usage(ctx, true)
	return p, err
}

// unattended leaves the collection to git, which looks after each push whether it is due: with its defaults, and
// with a short life for what nothing refers to. It is the same for few clusters and for many.
func (c *crowd) unattended(ctx context.Context) error {
	pushes, threshold := 4000, 6700
	if c.lab.quick {
		pushes, threshold = 150, 256
	}
	type outcome struct {
		size, slow float64
		text       string
	}
	var outcomes []outcome
	for _, expire := range []string{"2.weeks.ago", "10.seconds.ago"} {
		repo, err := c.repo(ctx, "unattended-"+expire, 10)
		if err != nil {
			return err
		}
		for key, value := range map[string]string{"receive.autogc": "true", "gc.auto": fmt.Sprint(threshold), "gc.pruneExpire": expire} {
			if _, err := repo.Git("config", key, value); err != nil { //nolint:contextcheck // quick and local
				return err
			}
		}
		done, err := c.pushMany(ctx, repo, pushes)
		if err != nil {
			return err
		}
		if err := c.settled(ctx, repo); err != nil {
			return err
		}
		size, files, err := repo.disk()
		if err != nil {
			return err
		}
		o := outcome{float64(size) / 1e6, quantile(done.took, 0.99), thousands(files) + " files"}
		if done.failed > 0 {
			// It removes empty folders that a push is about to write to.
			o.text += fmt.Sprintf(", %d pushes failed beside git gc and were tried again", done.failed)
			c.lab.say("  %d pushes failed, first: %v", done.failed, done.err)
		}
		switch _, err := os.Stat(filepath.Join(repo.Dir, "gc.log")); {
		case err == nil:
			o.text += ", and git has stopped to collect (gc.log)"
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		outcomes = append(outcomes, o)
	}
	kept, short := outcomes[0], outcomes[1]
	what := fmt.Sprintf("%s pushes, collected by git itself (gc.auto %d): ", thousands(pushes), threshold)
	const reference = "gc.pruneExpire of 10 seconds"
	c.lab.add(
		row{
			What: what + "size", Unit: "MB", Ours: []float64{kept.size}, Reference: reference, Theirs: []float64{short.size},
			Note: kept.text + "; with the short gc.pruneExpire " + short.text,
		},
		row{What: what + "time of a push, p99", Unit: "ms", Ours: []float64{kept.slow}, Reference: reference, Theirs: []float64{short.slow}},
	)
	return nil
}

// settled waits until no collection runs.
func (c *crowd) settled(ctx context.Context, repo *scaleRepo) error {
	return until(ctx, "the end of git gc", 2*time.Minute, func() (bool, error) {
		_, err := os.Stat(filepath.Join(repo.Dir, "gc.pid"))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	})
}
