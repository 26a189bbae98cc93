package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running at the end, until Ctrl-C")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: demo [--keep]\n\nShow Holdfast on three local clusters. Run it in the repository; make demo does.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: "+err.Error())
		os.Exit(1)
	}
}

// run tells the story.
func run(ctx context.Context, keep bool) error {
	s := &stage{out: os.Stdout}
	defer s.close()
	for _, scene := range []func(context.Context) error{
		s.build, s.clusters, s.repository, s.agents,
		s.overlays, s.push, s.drift, s.drain, s.restore, s.brokenTakeover,
	} {
		if err := scene(ctx); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted; everything is cleaned up")
			}
			s.tellLogs()
			return err
		}
	}
	s.end()
	if keep {
		s.tellKept()
		<-ctx.Done()
		s.say("\nCleaning up.")
	}
	return nil
}
