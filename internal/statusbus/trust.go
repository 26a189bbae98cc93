package statusbus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// skew is how far the clocks of two clusters may be apart.
const skew = 5 * time.Minute

// found is what a cluster's ref points at.
type found struct {
	commit  *object.Commit
	content []byte // of status.json
	err     error  // why there is no commit, or no content
}

// judge returns the report that was found for a cluster if it can be believed. signers is nil if
// signatures are not asked for; now is this machine's time. last is the time of the report that was
// believed before, and elsewhere when the ref was last seen to point elsewhere; both are zero if there is
// none. The error is for people: it completes a sentence about the cluster's status.
func judge(cluster string, f found, signers *AllowedSigners, now, last, elsewhere time.Time) (status.Report, error) {
	if f.commit == nil {
		return status.Report{}, unreadable(f.err)
	}
	// What is not signed is not even looked at.
	if signers != nil {
		if err := signers.check(cluster, f.commit, now); err != nil {
			return status.Report{}, err
		}
	}
	if f.err != nil {
		return status.Report{}, unreadable(f.err)
	}
	report, err := status.Decode(bytes.NewReader(f.content))
	if err != nil {
		return status.Report{}, fmt.Errorf("it is malformed, or of an agent that is newer or older than can be read: %s", clip(err.Error()))
	}
	if err := checkCluster(cluster, report.Cluster); err != nil {
		return status.Report{}, err
	}
	if err := checkTime(report.Time, now, last, elsewhere); err != nil {
		return status.Report{}, err
	}
	return report, nil
}

func unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its commit holds no %s: whoever pushed it is no agent", File)
	}
	text := err.Error()
	var e *gitsource.Error
	if errors.As(err, &e) {
		text = e.Reason // without the repository, which is not at fault
	}
	return fmt.Errorf("it cannot be read: %s", clip(text))
}

// checkCluster insists that a report is in the ref of the cluster that it is about.
func checkCluster(cluster, says string) error {
	if says != cluster {
		return fmt.Errorf("its ref holds a report of the cluster %q: it was forged, or an agent there has the wrong name", clip(says))
	}
	return nil
}

// checkTime refuses a report from the future, and one of old that was put there again.
func checkTime(at, now, last, elsewhere time.Time) error {
	switch {
	case at.Sub(now) > skew:
		return fmt.Errorf("it is dated %s, %s ahead of this machine's clock: set the clock there, or here", stamp(at), at.Sub(now).Round(time.Second))
	case at.Before(last):
		return fmt.Errorf("it is dated %s, before the one of %s that came first: it was put there again, "+
			"the clock there was set back, or two agents have that cluster's name", stamp(at), stamp(last))
	case !elsewhere.IsZero() && elsewhere.Sub(at) > skew:
		return fmt.Errorf("it is dated %s but came after %s by this machine's clock: it was put there again, or a clock is wrong", stamp(at), stamp(elsewhere))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// clip makes one short line of what others wrote.
func clip(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
