package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// flags are what a person asks for.
type flags struct {
	agent, applier string
	only           string
	runs           int
	quick, list    bool
	json, markdown string
	keepLogs       string
	agents, refs   int
}

// run returns the exit code: 0 if all ran, whether a target was reached or not, 2 for bad usage, 3 if
// something failed.
func run(ctx context.Context, args []string) int {
	if len(args) > 0 && (args[0] == "ref" || args[0] == "task") {
		return report(runHidden(ctx, args))
	}
	s := &clusterSuite
	if len(args) > 0 && args[0] == scaleSuite.name {
		s, args = &scaleSuite, args[1:]
	}
	var o flags
	f := s.flags(&o)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if o.list {
		for _, w := range s.workloads {
			fmt.Printf("%-14s %s\n", w.name, w.about)
		}
		return 0
	}
	chosen, err := s.choose(o.only)
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.runs < 1:
		err = errors.New("--runs: want at least 1")
	case s.name == scaleSuite.name && o.refs < 100:
		err = errors.New("--refs: want at least 100")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	return report(measure(ctx, s, o, chosen))
}

// flags are those of a suite.
func (s *suite) flags(o *flags) *flag.FlagSet {
	f := flag.NewFlagSet(strings.TrimSpace("bench "+s.name), flag.ContinueOnError)
	if s.name == scaleSuite.name {
		f.IntVar(&o.agents, "agents", 0, "`N` simulated agents in the ramp at most (default: as many as the machine carries)")
		f.IntVar(&o.refs, "refs", 1000, "`N` clusters that report to the repository")
	} else {
		f.StringVar(&o.agent, "agent", "bin/holdfast", "`FILE`: the program that is measured")
		f.StringVar(&o.applier, "applier", "bin/bench-applier", "`FILE`: the reference that uses cli-utils' Applier; left out if it is not there")
	}
	f.StringVar(&o.only, "only", "", "`NAME[,NAME]`: only these workloads (see --list)")
	f.IntVar(&o.runs, "runs", 3, "`N` samples of what takes seconds; what takes milliseconds has ten times as many")
	f.BoolVar(&o.quick, "quick", false, "small sizes and one sample, to try it out; the figures mean nothing")
	f.BoolVar(&o.list, "list", false, "list the workloads")
	f.StringVar(&o.json, "json", "", "`FILE` to write all samples to, as JSON")
	f.StringVar(&o.markdown, "markdown", "", "`FILE` to write the table to: between the markers, if it has them")
	f.StringVar(&o.keepLogs, "logs", "", "`FOLDER` to keep the agents' logs in (default: dropped)")
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: %s [flags]\n\n%s Run it in the repository; make %s does.\n", f.Name(), s.about, s.target)
		f.PrintDefaults()
	}
	return f
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 3
	}
	return 0
}

// choose returns the workloads with these names; "" is all.
func (s *suite) choose(only string) ([]workload, error) {
	if only == "" {
		return s.workloads, nil
	}
	var chosen []workload
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, w := range s.workloads {
			if w.name == name {
				chosen, found = append(chosen, w), true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown workload %q: see --list", name)
		}
	}
	return chosen, nil
}

// measure runs the workloads and writes what came out, also of those before an interruption. One that fails
// does not keep the others from running.
func measure(ctx context.Context, s *suite, o flags, chosen []workload) (err error) {
	l, err := newLab(ctx, s, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	var failed []error
	for _, w := range chosen {
		l.say("%s: %s", w.name, w.about)
		l.current = w.name
		if err := w.run(ctx, l); err != nil {
			if ctx.Err() != nil {
				failed = append(failed, fmt.Errorf("interrupted in %s", w.name))
				break
			}
			l.say("%s failed: %v", w.name, err)
			failed = append(failed, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return errors.Join(append(failed, l.results.write(os.Stdout, o.json, o.markdown))...)
}
