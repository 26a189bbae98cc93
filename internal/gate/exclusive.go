package gate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// exclusive decides what a cluster has of an app that only one may have, and what holds it. To start is
// held until nobody else can have it, at every commit anew until it has begun; to stop is not, unless
// there is nobody who could start it.
func (in *Input) exclusive(now, want Enforced) (Enforced, *Held) {
	switch {
	case want.Placed && now.Placed && now.Present:
		return want, nil
	case want.Placed:
		held := in.occupied()
		switch {
		case held == nil:
			return want, nil
		case now.Unknown:
			return now, held
		}
		return Enforced{}, held
	case (now.Placed || now.Unknown) && len(in.Placed.Clusters) == 0 && !in.forced() && !in.lost(in.Cluster):
		return in.kept(now), in.nowhere(status.GateExclusive)
	}
	return want, nil
}

// occupied holds while another cluster may have the app, or may start it at a commit before head. A report that was
// not read may be that of a cluster that has left Git, or that was started by commits which the branch has lost: so
// history alone lets nothing start, but where nobody reports.
func (in *Input) occupied() *Held {
	if in.NoReports && in.notPlaced("", "") {
		return nil
	}
	var waits []string
	if in.Unread {
		waits = append(waits, in.unread())
	}
	for _, cluster := range in.holders() {
		if why := in.holding(cluster); why != "" {
			waits = append(waits, why)
		}
	}
	if len(waits) == 0 {
		return nil
	}
	held := in.asking(status.GateExclusive, nil,
		"does not start here before every other cluster has reported it gone at commit %s or later: %s. "+
			"If a cluster is dead, and only then, set its state: Lost in clusters/<name>/cluster.yaml", short(in.Head), list(waits))
	held.Asks.All, held.Pending = true, !in.asked("")
	return held
}

// unread says why it is not known which clusters there are.
func (in *Input) unread() string {
	if in.Trouble != "" {
		return fmt.Sprintf("status reports cannot be read (%s)", in.Trouble)
	}
	return "status reports have not been read yet"
}

// holders are all other clusters that may have the app: those of Git, those whose file cannot be read
// among them, and those that have reported, unless a person says that they are dead.
func (in *Input) holders() []string {
	names := map[string]bool{}
	for _, c := range in.Fleet.Clusters {
		names[c.Name] = true
	}
	for _, p := range in.Fleet.Problems {
		if p.Kind == fleet.KindCluster && p.Name != "" {
			names[p.Name] = true
		}
	}
	for name := range in.Others {
		names[name] = true
	}
	delete(names, in.Cluster)
	maps.DeleteFunc(names, func(name string, _ bool) bool { return in.lost(name) })
	return slices.Sorted(maps.Keys(names))
}

// holding says why a cluster may have the app, "" if it cannot. Silence for however long says nothing; that
// it is gone at head or later stays true for as long as the other waits for this cluster in its turn. When it was
// said is left out, since that changes with every heartbeat.
func (in *Input) holding(cluster string) string {
	o := in.Others[cluster]
	app := o.app(in.App.Name)
	var ruledOut bool
	switch {
	case app != nil:
		if app.Replicas.Desired > 0 || app.Replicas.Ready > 0 || app.Objects > 0 {
			return fmt.Sprintf("%s reported that it has %d objects of it and %d replicas",
				cluster, app.Objects, max(app.Replicas.Desired, app.Replicas.Ready))
		}
		if in.reached(app.Placement) {
			return ""
		}
		ruledOut = app.Placement != "" && in.notPlaced(cluster, app.Placement)
	case o.Report != nil:
		// Without a commit it is of an agent that has seen none: it may have the app from before.
		ruledOut = in.descends(in.Head, o.Report.Commit) && in.notPlaced(cluster, "")
	default:
		ruledOut = o.Problem == "" && in.notPlaced(cluster, "")
	}
	switch {
	case ruledOut:
		return ""
	case o.Report == nil:
		return in.missing(cluster)
	case app == nil:
		return cluster + " says nothing about it in its report"
	default:
		return fmt.Sprintf("%s reported it gone, but at commit %s", cluster, short(app.Placement))
	}
}

func (in *Input) notPlaced(cluster, since string) bool {
	return in.NotPlaced != nil && in.NotPlaced(cluster, since)
}
