package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// AppRecord is what is enforced of one app on this cluster. It is stored before it becomes true, so that an agent
// that was killed in between, or lost its data dir, knows what others may rely on. An app that is not to run here
// has none.
type AppRecord struct {
	// Share is how many of the app's replicas run here; nil if they are not divided.
	Share *int32 `json:"s,omitempty"`
	// Revision is the commit whose content was adopted and Content that content's hash, of an app whose content may
	// be held back; empty of others, of which AppStatus tells.
	Revision string `json:"r,omitempty"`
	Content  string `json:"c,omitempty"`
	// Unknown is set instead while what was enforced could not be found out.
	Unknown bool `json:"u,omitempty"`
}

// Equal compares what the records say.
func (r AppRecord) Equal(o AppRecord) bool {
	same := (r.Share == nil) == (o.Share == nil) && (r.Share == nil || *r.Share == *o.Share)
	r.Share, o.Share = nil, nil
	return same && r == o
}

// appRecords is what the cluster has of AppRecords.
type appRecords struct {
	mu     sync.Mutex // held during a write
	exists bool       // the ConfigMap does
	stored map[string]AppRecord
	// unsure are those of which a write has failed: the cluster may have it nevertheless.
	unsure map[string]bool
}

func (a *appRecords) loaded(records map[string]AppRecord) {
	a.exists, a.stored, a.unsure = records != nil, maps.Clone(records), map[string]bool{}
	if a.stored == nil {
		a.stored = map[string]AppRecord{}
	}
}

// SaveApps makes the stored AppRecords those of all apps that are given. What is stored already costs no request.
func (inv *Inventory) SaveApps(ctx context.Context, records map[string]AppRecord) error {
	inv.apps.mu.Lock()
	defer inv.apps.mu.Unlock()
	a := &inv.apps
	changed := map[string]*AppRecord{}
	for name, r := range records {
		if have, ok := a.stored[name]; !ok || !have.Equal(r) || a.unsure[name] {
			changed[name] = &r
		}
	}
	for name := range a.stored {
		if _, ok := records[name]; !ok {
			changed[name] = nil
		}
	}
	for name := range a.unsure {
		if _, ok := records[name]; !ok {
			changed[name] = nil
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return inv.writeApps(ctx, changed)
}

// writeApps stores changed records, nil to remove one. The caller holds apps.mu.
func (inv *Inventory) writeApps(ctx context.Context, changed map[string]*AppRecord) error {
	a := &inv.apps
	for name := range changed {
		a.unsure[name] = true
	}
	next := maps.Clone(a.stored)
	for name, r := range changed {
		if r == nil {
			delete(next, name)
		} else {
			next[name] = *r
		}
	}
	err := errInventoryLost
	if a.exists {
		data := make(map[string]any, len(changed))
		for name, r := range changed {
			data[name] = nil // a merge patch (RFC 7386) removes it
			if r != nil {
				data[name] = r.encode()
			}
		}
		err = inv.write(ctx, inventoryApps, true, data)
	}
	if errors.Is(err, errInventoryLost) {
		data := make(map[string]any, len(next))
		for name, r := range next {
			data[name] = r.encode()
		}
		err = inv.write(ctx, inventoryApps, false, data)
	}
	if err != nil {
		return inv.failed(inventoryApps, err)
	}
	a.exists, a.stored = true, next
	for name := range changed {
		delete(a.unsure, name)
	}
	return nil
}

func (r AppRecord) encode() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and a number
	}
	return string(b)
}

// decodeAppRecords is the reverse of encode. The result is not nil.
func decodeAppRecords(data map[string]string) (map[string]AppRecord, error) {
	records := make(map[string]AppRecord, len(data))
	for name, value := range data {
		var r AppRecord
		if err := json.Unmarshal([]byte(value), &r); err != nil {
			return nil, fmt.Errorf("record of app %q: %w", name, err)
		}
		records[name] = r
	}
	return records, nil
}
