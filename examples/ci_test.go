package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// workflow is the part of a GitHub workflow that is looked at.
type workflow struct {
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		Steps []struct {
			Name string `yaml:"name"`
			Uses string `yaml:"uses"`
			Run  string `yaml:"run"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// gitlabJob is the part of a job in GitLab's file that is looked at.
type gitlabJob struct {
	Image        string   `yaml:"image"`
	BeforeScript []string `yaml:"before_script"`
	Script       []string `yaml:"script"`
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// githubSteps are the scripts of the workflow by the names of their steps.
func githubSteps(t *testing.T) map[string]string {
	t.Helper()
	var w workflow
	readYAML(t, filepath.Join(root, ".github/workflows/fleet.yaml"), &w)
	steps := map[string]string{}
	for _, step := range w.Jobs["check"].Steps {
		if step.Uses != "" && !regexp.MustCompile(`^[\w./-]+@v\d+$`).MatchString(step.Uses) {
			t.Errorf("uses %q: want a version", step.Uses)
		}
		if step.Run != "" {
			steps[step.Name] = step.Run
		}
	}
	if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
		t.Errorf("permissions of all jobs: %v, want to read contents alone", w.Permissions)
	}
	return steps
}

// gitlabScripts are the scripts of GitLab's file by the names of their jobs.
func gitlabScripts(t *testing.T) map[string]string {
	t.Helper()
	var all map[string]yaml.Node
	readYAML(t, filepath.Join(root, ".gitlab-ci.yml"), &all)
	scripts := map[string]string{}
	for name, node := range all {
		var job gitlabJob
		if node.Kind != yaml.MappingNode {
			continue
		}
		if err := node.Decode(&job); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		scripts[name] = strings.Join(slices.Concat(job.BeforeScript, job.Script), "\n")
		if name == ".holdfast" {
			module, err := os.ReadFile("../go.mod")
			if err != nil {
				t.Fatal(err)
			}
			version := strings.TrimPrefix(job.Image, "golang:")
			if !strings.Contains(string(module), "\ngo "+version+".") {
				t.Errorf("the image %s is not of the Go version that go.mod asks for", job.Image)
			}
		}
	}
	return scripts
}

// TestPipelinesAreShell: every script is one, and takes what comes from outside by the environment alone, where it cannot
// become a command.
func TestPipelinesAreShell(t *testing.T) {
	for name, scripts := range map[string]map[string]string{"GitHub": githubSteps(t), "GitLab": gitlabScripts(t)} {
		if len(scripts) < 3 {
			t.Errorf("%s: found %d scripts", name, len(scripts))
		}
		for step, script := range scripts {
			if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", script).CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v: %s", name, step, err, out)
			}
			if strings.Contains(script, "${{") {
				t.Errorf("%s, %s: an expression inside of a script", name, step)
			}
		}
	}
}

// pipeline is a clone of a fleet with a change on a branch, and a path on which holdfast and stand-ins for what talks to
// a code host are.
type pipeline struct{ dir, bin string }

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the program")
	}
	for _, tool := range []string{"git", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	p := &pipeline{dir: filepath.Join(t.TempDir(), "clone"), bin: t.TempDir()}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(p.bin, "holdfast"), "../cmd/agent").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	origin := t.TempDir()
	if err := os.CopyFS(origin, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	p.run(t, origin, "git init -q -b main . && git add . && git commit -q -m fleet")
	p.run(t, origin, fmt.Sprintf("git clone -q . %q", p.dir))
	p.run(t, p.dir, "git checkout -q -b change && sed -i.bak 's/initialDelaySeconds: 10/initialDelaySeconds: 11/' apps/shop/storefront/base/deployment.yaml && git commit -q -a -m change")
	return p
}

// run runs a script as a CI does, and returns what it prints.
func (p *pipeline) run(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	out, err := p.try(t, dir, script, env...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func (p *pipeline) try(t *testing.T, dir, script string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = slices.Concat(gittest.Environment(), env, []string{"PATH=" + p.bin + string(os.PathListSeparator) + os.Getenv("PATH")})
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// stand puts a script in place of a program. It has a file of comments to answer with, and a file to write its calls to.
func (p *pipeline) stand(t *testing.T, program, script string) (comments, calls string) {
	t.Helper()
	comments, calls = filepath.Join(t.TempDir(), "comments"), filepath.Join(t.TempDir(), "calls")
	text := fmt.Sprintf("#!/usr/bin/env bash\nset -euo pipefail\ncomments=%q calls=%q\n%s", comments, calls, script)
	if err := os.WriteFile(filepath.Join(p.bin, program), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return comments, calls
}

// Comments that are there: without one of ours, and with two. The first that begins as ours do is somebody else's each
// time, and so is one whose author is gone.
const (
	noComments = `[{"id": 5, "author": null, "user": null, "body": null},
		{"id": 6, "author": {"id": 40}, "user": {"login": "mallory"}, "body": "<!-- holdfast diff -->\nplanted"},
		{"id": 7, "author": {"id": 41}, "user": {"login": "github-actions[bot]"}, "body": "Nice. <!-- holdfast diff -->"}]`
	aComment = `[{"id": 5, "author": null, "user": null, "body": "<!-- holdfast diff -->"},
		{"id": 6, "author": {"id": 40}, "user": {"login": "github-actions"}, "body": "<!-- holdfast diff -->\nplanted"},
		{"id": 7, "author": {"id": 41}, "user": {"login": "github-actions[bot]"}, "body": "Nice."},
		{"id": 8, "author": {"id": 41}, "user": {"login": "github-actions[bot]"}, "body": "<!-- holdfast diff -->\nold"},
		{"id": 9, "author": {"id": 41}, "user": {"login": "github-actions[bot]"}, "body": "<!-- holdfast diff -->\nolder"}]`
)

// check answers with comments, runs the script and wants one call with these words.
func (p *pipeline) check(t *testing.T, comments, calls, answer, script string, env []string, want ...string) {
	t.Helper()
	for file, content := range map[string]string{comments: answer, calls: ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.run(t, p.dir, script, env...)
	got, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(got), "\n") != 1 {
		t.Errorf("calls:\n%s", got)
	}
	for _, w := range want {
		if !strings.Contains(string(got), w) {
			t.Errorf("the call %s has no %q", got, w)
		}
	}
}

// TestGitHubWorkflow runs the steps of the workflow: vet finds nothing in the example, and something once it is broken;
// diff is written; the comment is made once and changed afterwards.
func TestGitHubWorkflow(t *testing.T) {
	steps := githubSteps(t)
	p := newPipeline(t)
	p.run(t, p.dir, steps["Vet"])
	sarif, err := os.ReadFile(filepath.Join(p.dir, "holdfast.sarif"))
	if err != nil || !strings.Contains(string(sarif), `"version": "2.1.0"`) {
		t.Errorf("%v, SARIF: %.100s", err, sarif)
	}
	summary := filepath.Join(t.TempDir(), "summary")
	p.run(t, p.dir, steps["Diff"], "BASE=origin/main", "GITHUB_STEP_SUMMARY="+summary)
	comments, calls := p.stand(t, "gh", `
case "$*" in
*--paginate*) jq -r "${*: -1}" "$comments" ;;
*) body=${*: -1}; echo "$* $(head -n 1 "${body#body=@}")" >> "$calls" ;;
esac`)
	env := []string{"COMMENTS=repos/acme/fleet/issues/3/comments", "COMMENT=repos/acme/fleet/issues/comments"}
	p.check(t, comments, calls, noComments, steps["Comment"], env, "POST repos/acme/fleet/issues/3/comments", "<!-- holdfast diff -->")
	p.check(t, comments, calls, aComment, steps["Comment"], env, "PATCH repos/acme/fleet/issues/comments/8 ", "<!-- holdfast diff -->")
	if text, err := os.ReadFile(summary); err != nil || !strings.Contains(string(text), "storefront") {
		t.Errorf("%v, summary: %.200s", err, text)
	}

	p.run(t, p.dir, "sed -i.bak 's/  strategy:/  replica: 3\\n  strategy:/' apps/shop/storefront/base/deployment.yaml")
	if out, err := p.try(t, p.dir, steps["Vet"]); err == nil {
		t.Errorf("vet passes a broken manifest: %s", out)
	}
	if out, err := p.try(t, p.dir, steps["Say what is wrong"]); err == nil || !strings.Contains(out, "spec.replica: unknown field") {
		t.Errorf("%v, says: %s", err, out)
	}
	annotate := recipe(t, "../docs/ci.md", "::")
	if out, err := p.try(t, p.dir, annotate); err == nil || !regexp.MustCompile(
		`(?m)^::error file=apps/shop/storefront/base/deployment\.yaml,line=\d+,title=unknown-field::spec\.replica: unknown field`).MatchString(out) {
		t.Errorf("%v, annotates: %s", err, out)
	}
	p.vetSays(t, `{"findings": [{"code": "a", "severity": "error", "file": "apps/a,line=9:\n.yaml", "line": 0, "message": "50%: a, b\r\n::stop-commands::x"},
		{"code": "b", "severity": "warning", "file": "b.yaml", "line": 3, "message": null}]}`)
	want := "::error file=apps/a%2Cline=9%3A%0A.yaml,line=1,title=a::50%25: a, b%0D%0A::stop-commands::x\n::warning file=b.yaml,line=3,title=b::\n"
	if out := p.run(t, p.dir, annotate); out != want {
		t.Errorf("annotates:\n%swant:\n%s", out, want)
	}
	p.vetSays(t, `{"findings": null}`)
	if out := p.run(t, p.dir, annotate); out != "" {
		t.Errorf("annotates, of nothing: %s", out)
	}
}

// recipe is the code block of a page that has these words in it, which no other block has.
func recipe(t *testing.T, page, words string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 1 && strings.Contains(block, words) { // every second is between two fences
			found = append(found, strings.TrimSpace(block))
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d code blocks with %q, want one", page, len(found), words)
	}
	return found[0]
}

// vetSays puts a program in holdfast's place that says this with -o json, and nothing otherwise.
func (p *pipeline) vetSays(t *testing.T, report string) {
	t.Helper()
	says, _ := p.stand(t, "holdfast", `case "$*" in *json*) cat "$comments" ;; esac`)
	if err := os.WriteFile(says, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGitLabPipeline runs the jobs' scripts: a Code Quality report, and a note that is made once and changed afterwards.
func TestGitLabPipeline(t *testing.T) {
	scripts := gitlabScripts(t)
	p := newPipeline(t)
	p.run(t, p.dir, scripts["vet"])
	comments, calls := p.stand(t, "curl", `
case "$*" in
*/api/v4/user) echo '{"id": 41, "username": "project_5_bot"}' ;;
*data-urlencode*) for arg; do case $arg in body@*) text=$(head -n 1 "${arg#body@}") ;; esac; done; echo "$* $text" >> "$calls" ;;
*) cat "$comments" ;;
esac`)
	env := []string{"CI_API_V4_URL=https://git.example.com/api/v4", "CI_PROJECT_ID=5", "CI_MERGE_REQUEST_IID=3", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main", "HOLDFAST_TOKEN=t"}
	const notes = "https://git.example.com/api/v4/projects/5/merge_requests/3/notes"
	p.check(t, comments, calls, noComments, scripts["diff"], env, "--request POST", notes+" ", "<!-- holdfast diff -->")
	p.check(t, comments, calls, aComment, scripts["diff"], env, "--request PUT", notes+"/8 ", "<!-- holdfast diff -->")

	p.run(t, p.dir, "sed -i.bak 's/  strategy:/  replica: 3\\n  strategy:/' apps/shop/storefront/base/deployment.yaml")
	if out, err := p.try(t, p.dir, scripts["vet"]); err == nil || !strings.Contains(out, "spec.replica: unknown field") {
		t.Errorf("%v, says: %s", err, out)
	}
	report := p.codeQuality(t)
	if len(report) != 1 || report[0].Check != "unknown-field" || report[0].Severity != "critical" || report[0].Fingerprint == "" ||
		report[0].Location.Path != "apps/shop/storefront/base/deployment.yaml" || report[0].Location.Lines.Begin < 5 {
		t.Errorf("report: %+v", report)
	}

	// Findings that differ in their objects, in their lines or in nothing have fingerprints of their own; those of the
	// others stay when lines move, and when some are mended.
	const one = `{"code": "c", "severity": "error", "file": "a.yaml", "line": 3, "message": "m"`
	prints := func(findings string) (out []string) {
		p.vetSays(t, `{"findings": `+findings+`}`)
		p.run(t, p.dir, scripts["vet"])
		for _, f := range p.codeQuality(t) {
			out = append(out, f.Fingerprint)
		}
		slices.Sort(out)
		return out
	}
	all := prints(`[` + one + `, "objects": ["v1/a"]}, ` + one + `, "objects": ["v1/b"]}, ` + one + `, "objects": ["v1/a", "v1/b"]}, ` +
		one + `, "objects": ["v1/a v1/b"]}, ` + one + `}, ` + one + `}, ` + strings.Replace(one, "3", "4", 1) + `}, {"severity": null}]`)
	if len(slices.Compact(slices.Clone(all))) != 8 || slices.Contains(all, "") {
		t.Errorf("fingerprints: %q", all)
	}
	for _, f := range prints(`[` + strings.Replace(one, "3", "7", 1) + `, "objects": ["v1/b"]}, ` + strings.Replace(one, "3", "8", 1) + `}]`) {
		if !slices.Contains(all, f) {
			t.Errorf("a finding has another fingerprint when its line has moved: %q, before %q", f, all)
		}
	}
	if none := prints(`null`); none != nil {
		t.Errorf("of nothing: %q", none)
	}
}

// issue is an element of a Code Quality report.
type issue struct {
	Description string `yaml:"description"`
	Check       string `yaml:"check_name"`
	Fingerprint string `yaml:"fingerprint"`
	Severity    string `yaml:"severity"`
	Location    struct {
		Path  string `yaml:"path"`
		Lines struct {
			Begin int `yaml:"begin"`
		} `yaml:"lines"`
	} `yaml:"location"`
}

func (p *pipeline) codeQuality(t *testing.T) []issue {
	t.Helper()
	var report []issue
	readYAML(t, filepath.Join(p.dir, "gl-code-quality-report.json"), &report)
	return report
}

// TestGitLabBuild runs what GitLab's jobs begin with, against a source of the program that moves: it is built anew when
// the branch has moved or another ref is asked for, and not otherwise; a commit needs no network once it is there.
func TestGitLabBuild(t *testing.T) {
	for _, tool := range []string{"git", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	script := gitlabScripts(t)[".holdfast"] + "\nholdfast"
	p := &pipeline{bin: t.TempDir()}
	p.stand(t, "apt-get", "")
	source, builds := t.TempDir(), filepath.Join(t.TempDir(), "builds")
	commit := func(says string) string {
		t.Helper()
		makefile := fmt.Sprintf("build:\n\tmkdir -p bin\n\techo %s >> %q\n\tprintf '#!/bin/sh\\necho %s' > bin/holdfast\n\tchmod +x bin/holdfast\n", says, builds, says)
		if err := os.WriteFile(filepath.Join(source, "Makefile"), []byte(makefile), 0o600); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(p.run(t, source, "git add . && git commit -q -m "+says+" && git rev-parse HEAD"))
	}
	p.run(t, source, "git init -q -b main && git config uploadpack.allowAnySHA1InWant true")
	dir, gone := t.TempDir(), filepath.Join(t.TempDir(), "gone")
	last := func(ref, from string) (string, error) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, ".holdfast", "source")); err != nil { // is not in the cache
			t.Fatal(err)
		}
		out, err := p.try(t, dir, script, "HOLDFAST_REF="+ref, "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=url.file://"+from+".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/holdfast-dev/holdfast.git")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[len(lines)-1], err
	}
	first := commit("first")
	built := []string{}
	for _, step := range []struct{ ref, move, want string }{
		{ref: "main", want: "first"},
		{ref: "main", want: "-first"},
		{ref: "main", move: "second", want: "second"},
		{ref: "main", want: "-second"},
		{ref: first, want: "first"},
		{ref: first, move: "third", want: "-first"},
		{ref: "v1", move: "tag", want: "third"},
		{ref: "v1", move: "fourth", want: "-third"},
		{ref: "v1", move: "tag", want: "fourth"},
		{ref: "main", want: "fourth"},
		{ref: first, want: "first"},
	} {
		switch step.move {
		case "":
		case "tag":
			p.run(t, source, "git tag -f -a -m v1 v1")
		default:
			commit(step.move)
		}
		want, kept := strings.CutPrefix(step.want, "-")
		if !kept {
			built = append(built, want)
		}
		if got, err := last(step.ref, source); err != nil || got != want {
			t.Errorf("%+v: %v, runs %q", step, err, got)
		}
		if log, err := os.ReadFile(builds); err != nil || !slices.Equal(strings.Fields(string(log)), built) {
			t.Errorf("%+v: %v, built %q, want %q", step, err, log, built)
		}
	}
	if got, err := last(first, gone); err != nil || got != "first" {
		t.Errorf("a commit, without the source: %v, %s", err, got)
	}
	if got, err := last("main", gone); err == nil {
		t.Errorf("a branch, without the source: runs %s, which may be old", got)
	}
}

// TestPreCommitHook holds the example's configuration to the hooks that this repository offers, and these to a program
// that "go install" makes of it.
func TestPreCommitHook(t *testing.T) {
	var config struct {
		Repos []struct {
			Repo, Rev string
			Hooks     []struct{ ID string }
		}
	}
	readYAML(t, filepath.Join(root, ".pre-commit-config.yaml"), &config)
	var hooks []struct {
		ID, Language, Entry, Files string
		PassFilenames              bool `yaml:"pass_filenames"`
	}
	readYAML(t, "../.pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 1 || len(config.Repos) != 1 || len(config.Repos[0].Hooks) != 1 || config.Repos[0].Hooks[0].ID != hooks[0].ID {
		t.Fatalf("%+v, %+v", config, hooks)
	}
	hook := hooks[0]
	program, command, _ := strings.Cut(hook.Entry, " ")
	source, err := os.ReadFile(filepath.Join("../cmd", program, "main.go"))
	if err != nil || !strings.Contains(string(source), "package main") || command != "vet" || hook.Language != "golang" || hook.PassFilenames {
		t.Errorf("%v, %+v", err, hook)
	}
	files := regexp.MustCompile(hook.Files)
	for name, want := range map[string]bool{
		"fleet.yaml": true, "apps/web/app.yaml": true, "clusters/a/cluster.yaml": true, "fleet/apps/web/base/a.yaml": true, "README.md": false,
	} {
		if files.MatchString(name) != want {
			t.Errorf("a change of %s: runs %t, want %t", name, !want, want)
		}
	}
}
