package agent

import "time"

// schedule is when something is to be done about an app, by name. It is small.
type schedule map[string]time.Time

// due takes out the apps whose time has come.
func (s schedule) due(now time.Time) (names []string) {
	for name, at := range s {
		if !now.Before(at) {
			names = append(names, name)
			delete(s, name)
		}
	}
	return names
}

// next is when the first is due; zero if none is.
func (s schedule) next() (at time.Time) {
	for _, t := range s {
		at = earliest(at, t)
	}
	return at
}
