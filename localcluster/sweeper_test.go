package localcluster

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// However the caller ends, no process and no folder stays behind.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		ready bool // kill it once its cluster is ready, or already in mid-start
		sig   syscall.Signal
	}{
		{"SIGKILL", true, syscall.SIGKILL},
		{"SIGINT", true, syscall.SIGINT},
		{"SIGKILL in mid-start", false, syscall.SIGKILL},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cluster")
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), helperDir+"="+dir)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if test.ready {
				line, err := bufio.NewReader(out).ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "ready") {
					t.Fatalf("the helper said %q (%v)", line, err)
				}
			}
			// Without etcd and the API server the test would prove nothing.
			eventually(t, 30*time.Second, "etcd and the API server are there", func() bool { return len(processesIn(t, dir)) >= 2 })
			if err := cmd.Process.Signal(test.sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the helper ended as if all were well")
			}
			eventually(t, 20*time.Second, "the folder is gone", func() bool { return gone(dir) })
			if left := processesIn(t, dir); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
		})
	}
}
