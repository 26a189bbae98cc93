package gitsource

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// fileConversation runs the service on a local repository, so it needs the git program.
type fileConversation struct {
	service service
	address address
	count   func() // of a message

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	stderr *tail
	waited bool
}

func (f *fileConversation) advertise(ctx context.Context) (io.ReadCloser, error) {
	if _, err := os.Stat(f.address.path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fail(KindNotFound, "there is no such directory")
		}
		return nil, err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fail(KindLocal, "a repository on the local disk needs the git program, which is not installed: use https or ssh")
	}
	f.cmd = exec.CommandContext(ctx, git, strings.TrimPrefix(string(f.service), "git-"), f.address.path) //nolint:gosec // the operator's own URL
	f.cmd.WaitDelay = 5 * time.Second
	for _, e := range os.Environ() {
		// What belongs to another repository must not leak in, such as GIT_DIR inside of a hook.
		if !strings.HasPrefix(e, "GIT_") || strings.HasPrefix(e, "GIT_CONFIG") {
			f.cmd.Env = append(f.cmd.Env, e)
		}
	}
	if f.service == fetching {
		f.cmd.Env = append(f.cmd.Env, "GIT_PROTOCOL="+version2)
	}
	if f.stdin, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if f.stdout, err = f.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	f.count()
	f.stderr = &tail{}
	f.cmd.Stderr = f.stderr
	if err := f.cmd.Start(); err != nil {
		return nil, fail(KindLocal, "git cannot be run: %s", err)
	}
	return io.NopCloser(&explainedReader{f.stdout, f.explain}), nil
}

func (f *fileConversation) request(_ context.Context, body []byte, _ bool) (io.ReadCloser, error) {
	f.count()
	if _, err := f.stdin.Write(body); err != nil {
		return nil, f.explain(io.EOF)
	}
	return io.NopCloser(&explainedReader{f.stdout, f.explain}), nil
}

func (f *fileConversation) close() error {
	if f.cmd == nil || f.cmd.Process == nil {
		return nil
	}
	_, _ = io.WriteString(f.stdin, "0000") // says goodbye; it may have gone already
	_ = f.stdin.Close()                    // as above
	_ = f.stdout.Close()                   // so that it does not block on what nobody reads
	f.wait()
	return nil
}

func (f *fileConversation) wait() {
	if !f.waited {
		f.waited = true
		_ = f.cmd.Wait() // what it wrote counts, not its status
	}
}

func (f *fileConversation) explain(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	_ = f.stdin.Close() // it has gone
	f.wait()
	if text := f.stderr.String(); text != "" {
		return remoteError(text)
	}
	return io.ErrUnexpectedEOF
}
