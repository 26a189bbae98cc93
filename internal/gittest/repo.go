package gittest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// firstCommit is the date of a repository's first commit, in seconds since 1970; each next commit is a minute later.
const firstCommit = 1767225600

// Repo is a bare repository. Its methods may be called from several goroutines.
type Repo struct {
	// Dir is the bare repository.
	Dir string
	// Name is what comes before ".git" in the URL.
	Name string

	url   string
	mu    sync.Mutex
	clock int64
}

// InitRepo creates a bare repository with the branch main (unborn) that serves shallow clones and
// accepts pushes over HTTP, rewritten history included.
func InitRepo(dir string) (*Repo, error) {
	ctx := context.Background()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if _, err := Git(ctx, dir, "init", "--quiet", "--bare", "--initial-branch=main", "."); err != nil {
		return nil, err
	}
	for _, kv := range [][2]string{
		{"http.receivepack", "true"},
		{"receive.denyNonFastForwards", "false"},
		{"receive.denyDeletes", "false"},
		{"gc.auto", "0"},
		{"receive.autogc", "false"},
	} {
		if _, err := Git(ctx, dir, "config", kv[0], kv[1]); err != nil {
			return nil, err
		}
	}
	name := strings.TrimSuffix(filepath.Base(dir), ".git")
	return &Repo{Dir: dir, Name: name, clock: firstCommit}, nil
}

// URL is the repository's address on the server that made it, or its file URL if there is none. It holds no credentials.
func (r *Repo) URL() string {
	if r.url == "" {
		return "file://" + r.Dir
	}
	return r.url
}

// commit collects what a Change asks for.
type commit struct {
	branch  string
	message string
	from    string
	orphan  bool
	also    string
	force   bool
	ops     []op
}

type op struct {
	path    string
	mode    string // "" deletes
	content string // or the commit id of a submodule
	edit    func(string) string
}

// Change is one part of a commit.
type Change func(*commit) error

// Write sets a file's content.
func Write(path, content string) Change {
	return func(c *commit) error {
		c.ops = append(c.ops, op{path: path, mode: "100644", content: content})
		return nil
	}
}

// Files sets the content of many files, by path.
func Files(files map[string]string) Change {
	return func(c *commit) error {
		paths := make([]string, 0, len(files))
		for p := range files {
			paths = append(paths, p)
		}
		sort.Strings(paths)
		for _, p := range paths {
			c.ops = append(c.ops, op{path: p, mode: "100644", content: files[p]})
		}
		return nil
	}
}

// Edit replaces a file's content by what fn makes of it; the file must exist.
func Edit(path string, fn func(content string) string) Change {
	return func(c *commit) error {
		c.ops = append(c.ops, op{path: path, mode: "100644", edit: fn})
		return nil
	}
}

// Delete removes a file or a directory.
func Delete(path string) Change {
	return func(c *commit) error {
		c.ops = append(c.ops, op{path: path})
		return nil
	}
}

// Symlink makes a symbolic link.
func Symlink(path, target string) Change {
	return func(c *commit) error {
		c.ops = append(c.ops, op{path: path, mode: "120000", content: target})
		return nil
	}
}

// Submodule makes an entry that names a commit of another repository.
func Submodule(path, sha string) Change {
	return func(c *commit) error {
		c.ops = append(c.ops, op{path: path, mode: "160000", content: sha})
		return nil
	}
}

// Tree adds every file and symbolic link of the host's directory dir, below under ("" is the root).
func Tree(dir, under string) Change {
	return func(c *commit) error {
		return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if d.Name() == ".git" {
					return fs.SkipDir
				}
				return nil
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			to := path.Join(under, filepath.ToSlash(rel))
			if d.Type()&fs.ModeSymlink != 0 {
				target, err := os.Readlink(p)
				if err != nil {
					return err
				}
				c.ops = append(c.ops, op{path: to, mode: "120000", content: target})
				return nil
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			c.ops = append(c.ops, op{path: to, mode: "100644", content: string(b)})
			return nil
		})
	}
}

// Message sets the commit's message.
func Message(text string) Change {
	return func(c *commit) error { c.message = text; return nil }
}

// On commits to another branch than main.
func On(branch string) Change {
	return func(c *commit) error { c.branch = branch; return nil }
}

// From makes the commit a child of rev instead of the branch's tip: a rewritten history, if rev is not the tip.
func From(rev string) Change {
	return func(c *commit) error { c.from, c.force = rev, true; return nil }
}

// Orphan makes a commit without parents and without the files of the branch: a rewritten history.
func Orphan() Change {
	return func(c *commit) error { c.orphan, c.force = true, true; return nil }
}

// Merge makes rev a second parent of the commit; the files are those of the first.
func Merge(rev string) Change {
	return func(c *commit) error { c.also = rev; return nil }
}

// Commit makes one commit of the changes on main (or the branch of On) and returns its id.
func (r *Repo) Commit(changes ...Change) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx := context.Background()
	c := commit{branch: "main", message: "Change the fleet"}
	for _, change := range changes {
		if err := change(&c); err != nil {
			return "", err
		}
	}
	parent := ""
	switch {
	case c.orphan:
	case c.from != "":
		sha, err := r.revParse(ctx, c.from)
		if err != nil {
			return "", err
		}
		parent = sha
	default:
		if sha, err := r.revParse(ctx, "refs/heads/"+c.branch); err == nil {
			parent = sha
		}
	}
	input, err := r.stream(ctx, &c, parent)
	if err != nil {
		return "", err
	}
	args := []string{"fast-import", "--quiet", "--date-format=raw"}
	if c.force {
		args = append(args, "--force")
	}
	if _, err := runGit(ctx, r.Dir, input, args...); err != nil {
		return "", err
	}
	return r.revParse(ctx, "refs/heads/"+c.branch)
}

// stream writes the commit in the format of git fast-import.
func (r *Repo) stream(ctx context.Context, c *commit, parent string) (*bytes.Buffer, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "reset refs/heads/%s\n", c.branch)
	if parent != "" {
		fmt.Fprintf(&b, "from %s\n", parent)
	}
	fmt.Fprintf(&b, "\ncommit refs/heads/%s\n", c.branch)
	who := "Ada Fleet <ada@example.com> " + strconv.FormatInt(r.clock, 10) + " +0000"
	r.clock += 60
	fmt.Fprintf(&b, "author %s\ncommitter %s\n", who, who)
	fmt.Fprintf(&b, "data %d\n%s\n", len(c.message), c.message)
	if parent != "" {
		fmt.Fprintf(&b, "from %s\n", parent)
	}
	if c.also != "" {
		sha, err := r.revParse(ctx, c.also)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "merge %s\n", sha)
	}
	for _, o := range c.ops {
		if o.edit != nil {
			old, err := r.run(ctx, "cat-file", "blob", parent+":"+o.path)
			if err != nil {
				return nil, fmt.Errorf("edit %s: %w", o.path, err)
			}
			o.content = o.edit(old)
		}
		name := quote(o.path)
		switch o.mode {
		case "":
			fmt.Fprintf(&b, "D %s\n", name)
		case "160000":
			fmt.Fprintf(&b, "M 160000 %s %s\n", o.content, name)
		default:
			fmt.Fprintf(&b, "M %s inline %s\ndata %d\n%s\n", o.mode, name, len(o.content), o.content)
		}
	}
	return &b, nil
}

// quote writes a path as fast-import reads it.
func quote(p string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(p) {
		switch c := p[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Write commits one file's content to main.
func (r *Repo) Write(path, content string) (string, error) { return r.Commit(Write(path, content)) }

// Delete commits the removal of a file or directory from main.
func (r *Repo) Delete(path string) (string, error) { return r.Commit(Delete(path)) }

// ForceBranch points a branch at rev, whatever it was before.
func (r *Repo) ForceBranch(branch, rev string) error {
	ctx := context.Background()
	sha, err := r.revParse(ctx, rev)
	if err != nil {
		return err
	}
	_, err = Git(ctx, r.Dir, "update-ref", "refs/heads/"+branch, sha)
	return err
}

// DeleteBranch removes a branch.
func (r *Repo) DeleteBranch(branch string) error {
	_, err := Git(context.Background(), r.Dir, "update-ref", "-d", "refs/heads/"+branch)
	return err
}

// AddRefs makes n refs named prefix-0, prefix-1, and so on, that point at main.
func (r *Repo) AddRefs(prefix string, n int) error {
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "create %s-%d refs/heads/main\n", prefix, i)
	}
	_, err := runGit(context.Background(), r.Dir, strings.NewReader(in.String()), "update-ref", "--stdin")
	return err
}

// RefusePushes puts a hook in place that refuses every push with these words; "" takes it away.
func (r *Repo) RefusePushes(words string) error {
	hook := filepath.Join(r.Dir, "hooks", "pre-receive")
	if words == "" {
		return os.Remove(hook)
	}
	script := "#!/bin/sh\ncat <<'EOF' >&2\n" + words + "\nEOF\nexit 1\n"
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		return err
	}
	return os.WriteFile(hook, []byte(script), 0o755)
}

// Import puts a pack's objects into the repository and points refs, by full name, at commits.
func (r *Repo) Import(pack io.Reader, refs map[string]string) error {
	ctx := context.Background()
	if _, err := runGit(ctx, r.Dir, pack, "index-pack", "--stdin"); err != nil {
		return err
	}
	var in strings.Builder
	for name, commit := range refs {
		fmt.Fprintf(&in, "update %s %s\n", name, commit)
	}
	_, err := runGit(ctx, r.Dir, strings.NewReader(in.String()), "update-ref", "--stdin")
	return err
}

// Head returns the commit id of a branch.
func (r *Repo) Head(branch string) (string, error) {
	return r.revParse(context.Background(), "refs/heads/"+branch)
}

// RevParse returns the commit id that rev names.
func (r *Repo) RevParse(rev string) (string, error) { return r.revParse(context.Background(), rev) }

// Git runs the git program in the bare repository.
func (r *Repo) Git(args ...string) (string, error) { return r.run(context.Background(), args...) }

func (r *Repo) run(ctx context.Context, args ...string) (string, error) {
	return Git(ctx, r.Dir, args...)
}

func (r *Repo) revParse(ctx context.Context, rev string) (string, error) {
	return r.run(ctx, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
}
