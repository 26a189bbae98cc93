package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/failover"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/plain"
)

const failoverLong = `Drain clusters, or bring them back: edit fleet.yaml and say what that moves.

--drain puts an entry into spec.drain of fleet.yaml in your clone: every app
leaves every cluster with that label, and runs on the others. --restore takes
the entry out again. Comments and layout stay as they are. What is printed is
the plan: which apps leave where and rise where, with replicas before and after,
how much capacity is left, and what waits for what.

Nothing moves before the edit is committed and pushed. With --commit it is
committed, by your git and so with your name, hooks and signature: fleet.yaml
alone, whatever else is staged. It is never pushed.

Several labels joined by commas select the clusters that have all of them. The
flag given twice makes two entries. What is drained already stays as it is; with
--force it then says force: true.

Refused, with nothing written: a label that no cluster has, a drain that leaves
an app nowhere to go, and fleet files that cannot be used. --force goes on over
the last two, and writes force: true: agents then do not wait until others have
taken over. It is for a region that is burning.

Exit codes: 0 well, also if there is nothing to change; 2 wrong use; 3 refused
or failed.`

const failoverExample = `  # Move everything out of us-east: edit, look at it, commit, push
  holdfast failover --repo . --drain region=us-east --reason power
  git diff fleet.yaml
  git commit --message 'Drain us-east: power' fleet.yaml
  git push

  # The same in one go
  holdfast failover --repo . --drain region=us-east --reason power --commit && git push

  # Only its production clusters
  holdfast failover --drain region=us-east,env=prod

  # It is on fire: do not wait for anything
  holdfast failover --drain region=us-east --force --commit && git push

  # Bring it back
  holdfast failover --restore region=us-east --commit && git push`

// failoverFlags are the flags of failover.
type failoverFlags struct {
	checkout

	drain, restore []string
	reason         string
	force, commit  bool
}

func newFailover() *cobra.Command {
	var r failoverFlags
	cmd := &cobra.Command{
		Use:     "failover --repo DIR {--drain KEY=VALUE | --restore KEY=VALUE}",
		Short:   "Drain clusters or bring them back: edit fleet.yaml, and say what moves",
		Long:    failoverLong,
		Example: failoverExample,
		Args:    noArgs,
		RunE:    filled(r.run),
	}
	f := cmd.Flags()
	f.SortFlags = false
	r.declare(cmd, "`DIR` of the clone of the fleet repository, or a folder in it")
	f.StringArrayVar(&r.drain, "drain", nil, "`KEY=VALUE[,...]`: labels of the clusters that every app leaves")
	f.StringArrayVar(&r.restore, "restore", nil, "`KEY=VALUE[,...]`: the drain that ends")
	f.StringVar(&r.reason, "reason", "", "`TEXT` that tells people why: in fleet.yaml and in the commit's message")
	f.BoolVar(&r.force, "force", false, "do not wait until others have taken over, and go on where an app has nowhere to go or a fleet file cannot be used")
	f.BoolVar(&r.commit, "commit", false, "commit the edit")
	nameEnv(f)
	r.completeNames(cmd, "drain", failover.Pairs)
	r.completeNames(cmd, "restore", failover.Drains)
	return cmd
}

// run edits the file and prints the plan. Until the file is written, nothing has been changed.
func (r *failoverFlags) run(ctx context.Context, out, stderr io.Writer) error {
	change, err := r.change()
	if err != nil {
		return err
	}
	if bare(r.dir) {
		return misusef("--repo %s: is a bare repository, and has no files to edit: name a clone", r.dir)
	}
	o, err := r.open()
	if broken := (*fleet.BrokenError)(nil); errors.As(err, &broken) {
		return fmt.Errorf("%w\nNothing was written: mend the file first, or remove it if it says nothing", err)
	}
	if err != nil {
		return err
	}
	defer o.close()
	file, err := openFleetFile(filepath.Join(r.dir, filepath.FromSlash(r.path)))
	if err != nil {
		return err
	}
	var git *worktree
	if r.commit {
		if git, err = openWorktree(ctx, file.dir, stderr); err != nil {
			return fmt.Errorf("%w\nNothing was written", err)
		}
	}
	if err := r.usable(o.fleet, stderr); err != nil {
		return err
	}
	if !change.Restore {
		if err := change.Check(o.fleet); err != nil {
			return err
		}
	}
	edit, err := change.Apply(file.content)
	if err != nil {
		return err
	}
	for _, entry := range edit.Already {
		fmt.Fprintf(out, "Drained already: %s\n", entry)
	}
	if bytes.Equal(edit.Content, file.content) {
		return nil
	}
	plan := failover.NewPlan(change, o.fleet, edit.Settings)
	if err := r.somewhere(plan); err != nil {
		return err
	}
	if err := file.write(edit.Content); err != nil {
		return err
	}
	if err := plan.Print(out); err != nil {
		return err
	}
	message := commitMessage(plan)
	if git == nil {
		fmt.Fprint(stderr, r.nextSteps(file, message))
		return nil
	}
	commit, err := git.commit(ctx, message, file.content == nil)
	if err != nil {
		return fmt.Errorf("%s is edited and not committed: %w", fleetFileName, err)
	}
	fmt.Fprintf(stderr, "\nCommitted as %s on branch %s, not pushed. Next:\n  %s push\n", commit, git.branch, gitIn(file.dir))
	return nil
}

// change reads the flags.
func (r *failoverFlags) change() (failover.Change, error) {
	change := failover.Change{Restore: len(r.restore) > 0, Reason: strings.TrimSpace(r.reason), Force: r.force}
	switch {
	case len(r.drain) > 0 && len(r.restore) > 0:
		return change, misusef("--drain and --restore cannot be used at once: make two edits")
	case len(r.drain)+len(r.restore) == 0:
		return change, misusef("--drain or --restore is required, such as --drain region=us-east")
	case strings.ContainsFunc(change.Reason, unicode.IsControl):
		return change, misusef("--reason: want one line of text")
	}
	flag, given := "drain", r.drain
	if change.Restore {
		flag, given = "restore", r.restore
	}
	for _, text := range given {
		selector, err := failover.ParseSelector(text)
		if err != nil {
			return change, misusef("--%s %w", flag, err)
		}
		change.Selectors = append(change.Selectors, selector)
	}
	return change, nil
}

// usable refuses a fleet of which a part is not known; with force it warns.
func (r *failoverFlags) usable(f *fleet.Fleet, stderr io.Writer) error {
	if len(f.Problems) == 0 {
		return nil
	}
	if !r.force {
		return fmt.Errorf("what would move is not fully known, because of these files:\n%s\nNothing was written: mend them first, or go on without them with --force",
			lines(f, func(fleet.Problem) bool { return true }))
	}
	for _, p := range f.Problems {
		fmt.Fprintf(stderr, "warning: %s\n", plain.Line(p.String()))
	}
	return nil
}

// somewhere refuses a plan that leaves an app nowhere to go.
func (r *failoverFlags) somewhere(plan *failover.Plan) error {
	nowhere := plan.Nowhere()
	if len(nowhere) == 0 || r.force {
		return nil
	}
	var text strings.Builder
	for _, a := range nowhere {
		fmt.Fprintf(&text, "\n  %s: %s", a.Name, a.After.Short)
	}
	return fmt.Errorf("nowhere to go for %d of the apps:%s\nNothing was written: let them run elsewhere first (spec.placement), or let them end with --force", len(nowhere), text.String())
}

const fleetFileName = "fleet.yaml"

// fleetFile is the fleet.yaml of a folder.
type fleetFile struct {
	dir     string
	content []byte // nil if there is no file
	mode    fs.FileMode
}

func openFleetFile(dir string) (*fleetFile, error) {
	f := &fleetFile{dir: dir, mode: 0o644}
	info, err := os.Lstat(f.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file: edit what it leads to by hand", f.path())
	}
	f.mode = info.Mode().Perm()
	f.content, err = os.ReadFile(f.path())
	return f, err
}

func (f *fleetFile) path() string { return filepath.Join(f.dir, fleetFileName) }

// write puts new content in the file's place, whole or not at all.
func (f *fleetFile) write(content []byte) (err error) {
	temporary, err := os.CreateTemp(f.dir, "."+fleetFileName+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path(), err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", f.path(), err)
			_ = os.Remove(temporary.Name())
		}
	}()
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Chmod(f.mode), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), f.path())
}

// nextSteps says what makes the edit count.
func (r *failoverFlags) nextSteps(f *fleetFile, message string) string {
	dir, err := filepath.Abs(f.dir)
	if _, ok := topOf(dir); err != nil || !ok {
		return "\n" + fleetFileName + " is edited.\n"
	}
	git := gitIn(f.dir)
	subject, _, _ := strings.Cut(message, "\n")
	text := "\n" + fleetFileName + " is edited and not committed. Next:\n"
	if f.content == nil {
		text += "  " + git + " add " + fleetFileName + "\n"
	} else {
		text += "  " + git + " diff " + fleetFileName + "\n"
	}
	return text + "  " + git + " commit --message " + shellWord(subject) + " " + fleetFileName + "\n  " + git + " push\n"
}

// commitMessage says what is done and why, in a first line of at most 72 characters if that can be.
func commitMessage(p *failover.Plan) string {
	what := p.Change.String()
	subject := strings.ToUpper(what[:1]) + what[1:]
	body := ""
	if reason := p.Change.Reason; reason != "" && len(subject)+len(reason) <= 70 {
		subject += ": " + reason
	} else if reason != "" {
		body = reason + "\n\n"
	}
	verb := "Every app leaves"
	if p.Change.Restore {
		verb = "Apps return to"
	}
	where := "no cluster"
	if names := p.Turned(); len(names) > 0 {
		where = strings.Join(names, ", ")
	}
	body += verb + ": " + where + "."
	if p.Change.Force && !p.Change.Restore {
		body += "\nForced: without waiting until others have taken over."
	}
	return subject + "\n\n" + body + "\n"
}

// gitIn is how git is called for a folder.
func gitIn(dir string) string {
	if filepath.Clean(dir) == "." {
		return "git"
	}
	return "git -C " + shellWord(filepath.Clean(dir))
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./=:,+-]+$`)

// shellWord quotes a word for a shell, if it has to be.
func shellWord(word string) string {
	if shellSafe.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
