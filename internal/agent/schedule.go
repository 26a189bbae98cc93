package agent

import "time"

// schedule is when something is to be done about apps, by name. It is small, and its zero value is empty.
type schedule map[string][]time.Time

func (s *schedule) add(name string, at time.Time) {
	if *s == nil {
		*s = schedule{}
	}
	(*s)[name] = append((*s)[name], at)
}

func (s schedule) drop(name string) { delete(s, name) }

// due takes out the apps whose next time has come.
func (s schedule) due(now time.Time) (names []string) {
	for name, times := range s {
		for _, at := range times {
			if !now.Before(at) {
				names = append(names, name)
				break
			}
		}
	}
	for _, name := range names {
		delete(s, name) // what is still to come is noted again with the app's state
	}
	return names
}

// next is when the first is due; zero if none is.
func (s schedule) next() (at time.Time) {
	for _, times := range s {
		for _, t := range times {
			at = earliest(at, t)
		}
	}
	return at
}
