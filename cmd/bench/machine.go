package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine is where the figures come from. It names neither hosts nor paths.
type machine struct {
	Cores  int    `json:"cores"`
	CPU    string `json:"cpu"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Git    string `json:"git"`
	// Versions are those of the programs and libraries that take part.
	Versions map[string]string `json:"versions"`
	Date     string            `json:"date"`
}

func thisMachine(ctx context.Context) machine {
	m := machine{
		Cores: runtime.NumCPU(), CPU: runtime.GOARCH, Kernel: runtime.GOOS, Go: runtime.Version(),
		Git: output(ctx, "git", "version"), Versions: map[string]string{}, Date: time.Now().UTC().Format(time.DateOnly),
	}
	if v := valueOf("/proc/cpuinfo", "model name"); v != "" {
		m.CPU = v
	}
	if v := valueOf("/proc/meminfo", "MemTotal"); v != "" {
		var kib int
		if _, err := fmt.Sscan(v, &kib); err == nil {
			m.Memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
		}
	}
	if v := output(ctx, "uname", "-sr"); v != "" {
		m.Kernel = v
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			switch d.Path {
			case "k8s.io/client-go", "sigs.k8s.io/cli-utils", "sigs.k8s.io/kustomize/api", "github.com/go-git/go-git/v5":
				m.Versions[d.Path] = d.Version
			}
		}
	}
	return m
}

func (m *machine) markdown(sharing string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s: %d cores (%s), %s of memory, %s, %s, %s. %s\n", m.Date, m.Cores, m.CPU, m.Memory, m.Kernel, m.Go, m.Git, sharing)
	var versions []string
	for _, k := range []string{"kube-apiserver", "etcd", "kubectl", "k8s.io/client-go", "sigs.k8s.io/cli-utils", "sigs.k8s.io/kustomize/api", "github.com/go-git/go-git/v5"} {
		if v := m.Versions[k]; v != "" {
			versions = append(versions, k+" "+v)
		}
	}
	fmt.Fprintf(&b, "Versions: %s.\n", strings.Join(versions, ", "))
	return b.String()
}

// output runs a program and returns its first line, "" if it failed.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output() //nolint:gosec // ours
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// valueOf reads the value of the first line "key : value" of a file, "" if there is none.
func valueOf(file, key string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
