package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// durationPattern is what a Duration may look like: the Go syntax without a sign.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// datePattern is what a Date may look like: a day or an RFC 3339 time.
const datePattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$`

var durationForm = regexp.MustCompile(durationPattern)

// Duration is a Go duration such as 90s or 5m. It is never negative.
type Duration struct{ time.Duration }

// UnmarshalText parses text such as 90s or 1h30m.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || !durationForm.Match(text) {
		return fmt.Errorf("%s is not a duration such as 90s or 5m", quote(string(text)))
	}
	d.Duration = parsed
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Date is a day (2026-12-01: through its end, UTC) or an RFC 3339 time. It is the last moment included.
type Date struct{ time.Time }

// UnmarshalText parses a day or an RFC 3339 time.
func (d *Date) UnmarshalText(text []byte) error {
	if day, err := time.Parse(time.DateOnly, string(text)); err == nil {
		d.Time = endOfDay(day)
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return fmt.Errorf("%s is not a day such as 2026-12-01 or a time such as 2026-12-01T18:00:00Z", quote(string(text)))
	}
	d.Time = at.UTC()
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Date) MarshalText() ([]byte, error) {
	at := d.UTC()
	if at.Equal(endOfDay(at)) {
		return []byte(at.Format(time.DateOnly)), nil
	}
	return []byte(at.Format(time.RFC3339Nano)), nil
}

// MarshalJSON hides the method of the embedded time.Time, which knows no days.
func (d Date) MarshalJSON() ([]byte, error) {
	text, err := d.MarshalText()
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON hides the method of the embedded time.Time, which knows no days.
func (d *Date) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("a date must be a string")
	}
	return d.UnmarshalText([]byte(text))
}

// endOfDay returns the last nanosecond of at's day in UTC.
func endOfDay(at time.Time) time.Time {
	y, m, day := at.UTC().Date()
	return time.Date(y, m, day, 23, 59, 59, int(time.Second-1), time.UTC)
}

// enumerated is a string type with a fixed set of values; the decoder and the JSON Schemas use it.
type enumerated interface{ values() []string }

func (State) values() []string {
	return []string{string(Active), string(Drained), string(Lost)}
}

func (Gate) values() []string {
	return []string{string(TakeoverHealthy), string(Exclusive), string(NoGate)}
}

func (DriftMode) values() []string {
	return []string{string(Correct), string(Strict), string(Detect)}
}
