// Package agent wires the stages together and owns the loop: the only package that knows them all.
//
// The loop (loop.go) is one goroutine that owns all state. News reaches it through channels: a new
// commit, the result of compiling one, a live object that changed, a request that ended, a record
// that was saved, the clock. Each time around it takes in one piece of news and then does what can
// be done now: starts requests that apply.Engine hands out, saves the inventory, and tells others
// how the apps stand.
//
//	gitsource -> compile (fleet, render) -> apply.Engine -> apply.Executor -> API server
//	                                             ^                               |
//	                                             +------ drift.Watcher <---------+
//
// Compiling (compile.go) turns a commit into what this cluster should have. It runs beside the loop,
// so healing never waits for it. Then it decides, by the pure functions of package gate (decision.go): which
// placement each app enforces here, and which apps adopt the commit's content now while others keep what
// they have, because they are frozen, wait for their wave or another app, or do not render. What a gate has
// to know of other clusters comes from their reports (bus.go), which are read only while a gate waits; what
// has to survive a restart is recorded before it is acted upon. A commit of which a gate holds something is
// compiled again when other clusters report, and when a time comes that the gate waits for.
package agent
