// Package gate decides, for one app on one cluster, which placement may be enforced and which content
// may be adopted. Both are functions of their arguments: what Git says at head, what is enforced here,
// and what other clusters last reported. There is no clock in it, no I/O and no memory. What has to
// survive a restart comes from the cluster (apply.AppRecord, and what has proven itself from AppStatus); what others did
// comes from the status bus.
//
// # The promise in a report
//
// `placement: P` in a cluster's report is a promise: every decision about the placement of that app that
// this cluster takes from now on is taken at P or at a descendant of P. It does not say that the share of
// P is what runs there. [Enforce] therefore gives head as the commit to report also while it holds: a
// cluster that may not lower its replicas yet runs at least its share of head, so others may count on
// that share. Were it to report the older commit whose share it still runs, two clusters that both give
// replicas away would wait for each other for ever. What runs is said by `replicas`, what is decided by
// `placement`, and a gate asks for both.
//
// It follows that a commit is never reported before the cluster can keep the promise after a crash: the
// share (apply.AppRecord) and the commit are on record there before they are in a report. And a commit that only stands in
// for a head that cannot be used decides nothing: what is enforced stays.
//
// # TakeoverHealthy
//
// A cluster lowers its replicas, or leaves, only when all others of head's placement have said that they
// decide at this head or later, and have as many ready replicas as head gives them. Then head is covered:
// whoever lowers next does so at head or later, by the same rule, so the sum never falls below the total
// of some commit that is still on its way through the fleet. The rule is the same when the total falls:
// that the others ran their shares before is known only from them, since the rise that made them may not
// have happened yet. But no cluster ever holds more than the whole total, so an app that runs on one cluster, or
// whose total is 0, needs nobody's word.
//
// # Exclusive
//
// A cluster starts the app only when every other cluster has said, at this head or later, that nothing of
// it is left there. Agents may skip commits, so any cluster may have started it under a commit that this one
// never saw: not the present selector decides who is asked, but all clusters of the fleet, and all that
// ever reported. The reports of all are read once before, since what a report shows counts whatever Git says: the branch
// may have been rewritten, and the app been started by a commit that it has lost. A cluster is left out if a person has
// declared it Lost; or if it last said that it has nothing of the app, and no commit since then until head has placed it
// there; or if it says nothing of the app, and no commit at all has. Git is believed in this only where no commit in between
// acknowledges a rewrite (spec.acceptHistory) and head descends from the commit of the report. A statement that the app is
// gone does not age, so it need not be fresh; time proves nothing here. Where reports are switched off, Git alone decides.
//
// # Wave, DependsOn, Freeze
//
// They hold content only, never placement: a cluster that is frozen, or whose wave has not come, takes over
// its share with the content that it has. A wave adopts the newest revision that enough clusters of each
// earlier wave have proven, at that revision or a later one; which clusters those are is said by head, not
// by who reported.
package gate
