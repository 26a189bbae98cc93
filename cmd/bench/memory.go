package main

import (
	"context"
)

// peaks reports the most that agents held: those of the other workloads of this run, or else one that is
// started for it.
func peaks(ctx context.Context, l *lab) error {
	for _, m := range []struct {
		size  int
		limit float64
	}{{5000, 80}, {10000, 130}} {
		n := l.size(m.size)
		if len(l.peaks[n]) == 0 || l.site != nil && l.site.fleet.objects == n {
			if _, err := l.steady(ctx, n, rare); err != nil {
				return err
			}
			if err := l.site.stop(); err != nil {
				return err
			}
		}
		l.add(row{What: "agent, " + thousands(n) + " objects, at its highest", Unit: "MiB", Ours: l.peaks[n], Target: worstAtMost(m.limit)})
	}
	return nil
}
