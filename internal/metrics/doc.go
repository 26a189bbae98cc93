// Package metrics holds the agent's Prometheus metrics.
//
// There is one [Metrics] with a registry of its own. The loop calls its methods as things happen; all of
// them work on a nil Metrics too, so that tests and the other commands need none. Label values that come from
// the outside (field managers, reasons) are bounded in number, so that nobody can make the agent grow
// by inventing names. No metric ever carries a value from a manifest.
package metrics
