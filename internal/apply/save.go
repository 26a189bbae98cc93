package apply

import (
	"errors"
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"
)

// How long a changed record may wait for others to be saved with it. New ids never wait, and when nothing is
// going on any more, nothing does (flushWhenIdle). What is lost in a crash is applied again without effect.
const (
	saveWithin       = 5 * time.Second
	saveLazilyWithin = 10 * time.Second
)

// Batch is a set of records to be saved together: nil means that the id leaves the inventory.
type Batch map[object.ObjMetadata]*Record

func (e *Engine) save(o *entry, now time.Time) {
	e.unsaved[o.id] = struct{}{}
	if !o.saved {
		e.flushBy(now)
		return
	}
	e.settle = true
	e.flushBy(now.Add(saveWithin))
}

// saveLazily is for what costs nothing but a needless question if it is lost.
func (e *Engine) saveLazily(o *entry, now time.Time) {
	e.unsaved[o.id] = struct{}{}
	e.flushBy(now.Add(saveLazilyWithin))
}

func (e *Engine) unsave(id object.ObjMetadata, now time.Time) {
	e.unsaved[id] = struct{}{}
	e.settle = true
	e.flushBy(now.Add(saveWithin))
}

func (e *Engine) flushBy(at time.Time) {
	if e.flushAt.IsZero() || at.Before(e.flushAt) {
		e.flushAt = at
	}
}

// flushWhenIdle saves at once what would otherwise wait for company that is not coming.
func (e *Engine) flushWhenIdle(now time.Time) {
	if e.settle && e.inFlight == 0 && e.ready.Len() == 0 {
		e.flushBy(now)
	}
}

// Unsaved returns the records that are due to be saved; ok is false if there are none, or the
// batch before has not been answered by Saved.
func (e *Engine) Unsaved(now time.Time) (b Batch, ok bool) {
	if e.saving || e.flushAt.IsZero() || now.Before(e.flushAt) {
		return nil, false
	}
	b = make(Batch, len(e.unsaved))
	for id := range e.unsaved {
		b[id] = nil
		if o := e.objs[id]; o != nil && o.rec != nil {
			r := *o.rec
			b[id] = &r
		}
	}
	e.unsaved = map[object.ObjMetadata]struct{}{}
	e.flushAt, e.settle, e.saving = time.Time{}, false, true
	return b, true
}

// Saved takes in whether the batch was stored. What was not is due again, with backoff.
func (e *Engine) Saved(b Batch, err error, now time.Time) {
	e.saving = false
	if err != nil {
		e.saves++
		for id := range b {
			e.unsaved[id] = struct{}{}
		}
		if errors.Is(err, errInventoryLost) {
			for id, o := range e.objs {
				if o.rec != nil {
					e.unsaved[id] = struct{}{}
				}
			}
		}
		e.flushAt = now.Add(backoff(e.saves, time.Second, 30*time.Second))
		return
	}
	e.saves = 0
	for id, r := range b {
		o := e.objs[id]
		if o == nil || o.rec == nil || r == nil {
			continue
		}
		if !o.saved {
			o.saved = true
			e.touch(o)
		}
	}
}
