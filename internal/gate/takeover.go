package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/status"
)

// takeover holds a cluster that gives away replicas, or leaves, until the others provide for head.
func (in *Input) takeover(now, want Enforced) *Held {
	if !Gives(now, want) || !want.Placed && in.forced() {
		return nil
	}
	if !want.Placed && len(in.Placed.Clusters) == 0 {
		return in.nowhere(status.GateTakeoverHealthy)
	}
	others := slices.DeleteFunc(slices.Clone(in.Placed.Clusters), func(c string) bool { return c == in.Cluster })
	var waits []string
	for _, cluster := range others {
		if why := in.unready(cluster); why != "" {
			waits = append(waits, why)
		}
	}
	if len(waits) == 0 {
		return nil
	}
	keeps := "keeps running here"
	if want.Placed && want.Share != nil {
		keeps = fmt.Sprintf("keeps its replicas here instead of %d", *want.Share)
		if now.Share != nil {
			keeps = fmt.Sprintf("keeps %d replicas here instead of %d", *in.kept(now).Share, *want.Share)
		}
	}
	return in.asking(status.GateTakeoverHealthy, others,
		"%s until the others have taken over: %s. A cluster that is dead is not waited for once its state is Lost in Git. %s",
		keeps, list(waits), in.leaveAnyway())
}

// Gives tells whether the cluster would provide less than it does now.
func Gives(now, want Enforced) bool {
	switch {
	case !now.Placed && !now.Unknown:
		return false
	case !want.Placed:
		return true
	case want.Share == nil:
		return false // the manifests say how many, and content is not the business of this gate
	case now.Unknown || now.Share == nil:
		return true // it may be
	default:
		return *want.Share < *now.Share
	}
}

// unready says why a cluster does not yet provide what head asks of it, "" if it does.
func (in *Input) unready(cluster string) string {
	share := int32(0)
	if in.Placed.Replicas != nil {
		if share = in.Placed.Replicas[cluster]; share == 0 {
			return ""
		}
	}
	o := in.Others[cluster]
	app := o.app(in.App.Name)
	soak := in.App.Spec.Failover.SoakOrDefault()
	switch {
	case o.Report == nil || o.Problem != "":
		return in.missing(cluster)
	case !o.Fresh:
		return in.silent(cluster)
	case app == nil:
		return fmt.Sprintf("%s does not have the app yet (it has seen commit %s)", cluster, short(o.Report.Commit))
	case !in.reached(app.Placement):
		return fmt.Sprintf("%s is at commit %s, not known to be %s or later", cluster, short(app.Placement), short(in.Head))
	case app.Replicas.Ready < share:
		return fmt.Sprintf("%s has %d of its %d replicas ready%s", cluster, app.Replicas.Ready, share, trouble(app))
	case !app.Ready || app.Since == nil:
		return fmt.Sprintf("%s is not Ready%s", cluster, trouble(app))
	case o.Report.Time.Sub(*app.Since) < soak:
		return fmt.Sprintf("%s is Ready since %s, and must stay so for %s", cluster, stamp(*app.Since), soak)
	}
	return ""
}

// trouble is what a cluster says is wrong with the app, for a parenthesis.
func trouble(app *status.App) string {
	if len(app.Errors) == 0 {
		return ""
	}
	const most = 160
	text := app.Errors[0].Message
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	if object := app.Errors[0].Object; object != "" {
		text = object + ": " + text
	}
	return " (" + text + ")"
}
