// Command holdfast keeps Kubernetes clusters as one shared Git repository says, without a hub.
//
// This package is the edge of the program: commands, flags, the logger, signals and exit codes.
// What it does with them is in internal/agent and internal/render.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-dev/holdfast/internal/plain"
)

// The exit codes are chosen here alone.
const (
	exitWell     = 0
	exitFindings = 1
	exitUsage    = 2
	exitFailed   = 3
)

func main() {
	ctx, stop := signals()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr) //nolint:contextcheck // commands get theirs from ExecuteContextC
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var usage *usageError
	var findings *findingsError
	switch {
	case err == nil:
		return exitWell
	case errors.As(err, &findings):
		return exitFindings
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "holdfast: %s\nRun \"%s --help\" for how to use it.\n", plain.Lines(err.Error()), cmd.CommandPath())
		return exitUsage
	default:
		fmt.Fprintf(stderr, "holdfast: %s\n", plain.Lines(err.Error()))
		return exitFailed
	}
}

// findingsError ends a command that has found differences or faults. What they are has been printed.
type findingsError struct{}

func (*findingsError) Error() string { return "there are findings" }

// usageError marks an error that the caller can put right by calling the program differently.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// misuse marks err as a usage error; nil stays nil.
func misuse(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

func misusef(format string, args ...any) error { return misuse(fmt.Errorf(format, args...)) }

// signals returns a context that ends with the first SIGINT or SIGTERM. The second exits at once, so
// that nobody has to wait for a server that does not answer.
func signals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan os.Signal, 2)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-got
		cancel()
		<-got
		os.Exit(exitFailed)
	}()
	return ctx, func() {
		signal.Stop(got)
		cancel()
	}
}
