package fleet

import "time"

// State is what the cluster may be used for: Active unless the file says otherwise.
func (c *Cluster) State() State {
	if c.Spec.State == "" {
		return Active
	}
	return c.Spec.State
}

// Weight is the cluster's share when replicas or apps are divided: 1 unless the file says otherwise.
func (c *Cluster) Weight() int32 {
	if c.Spec.Weight == nil {
		return 1
	}
	return *c.Spec.Weight
}

// MaxPercentOrDefault is the greatest part of a cluster's objects that one commit may delete, in percent.
func (p Prune) MaxPercentOrDefault() int {
	if p.MaxPercent == nil {
		return 30
	}
	return *p.MaxPercent
}

// MinObjectsOrDefault is the number of deletions from which on MaxPercent counts.
func (p Prune) MinObjectsOrDefault() int {
	if p.MinObjects == nil {
		return 10
	}
	return *p.MinObjects
}

// Gate is how the app leaves a cluster. The app of a cluster's own folder has nowhere else to go, and goes at once.
func (a *App) Gate() Gate {
	if a.Implicit {
		return NoGate
	}
	return a.Spec.Failover.GateOrDefault()
}

// GateOrDefault is how an app that may run elsewhere leaves a cluster.
func (f Failover) GateOrDefault() Gate {
	if f.Gate == "" {
		return TakeoverHealthy
	}
	return f.Gate
}

// SoakOrDefault is how long the clusters that take over must have been Ready.
func (f Failover) SoakOrDefault() time.Duration {
	if f.Soak == nil {
		return 30 * time.Second
	}
	return f.Soak.Duration
}

// TimeoutOrDefault is how long an app may take to become Ready before it counts as stalled.
func (h Health) TimeoutOrDefault() time.Duration {
	if h.Timeout.Duration == 0 {
		return 5 * time.Minute
	}
	return h.Timeout.Duration
}

// ModeOrDefault is what is done about drift.
func (d DriftPolicy) ModeOrDefault() DriftMode {
	if d.Mode == "" {
		return Correct
	}
	return d.Mode
}
