package localcluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Request is one request that the API server served, as its audit log has it.
type Request struct {
	Verb      string // get, list, watch, create, update, patch, delete, deletecollection
	User      string // who was authenticated; empty if nobody was
	UserAgent string
	Resource  Resource
	Namespace string
	Name      string // empty for lists, and for creations whose name the server chose
	URI       string
	Code      int       // HTTP status
	Time      time.Time // when the API server received it
	Done      time.Time // when its answer was complete; of a watch, when it began
}

// Resource names what a request was for. It is zero for a request like /readyz that is
// not about a resource.
type Resource struct {
	Group, Version, Resource, Subresource string
}

// String returns for example "deployments.apps/status".
func (r Resource) String() string {
	s := r.Resource
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	return s
}

// String returns the request on one line, for a test's failure message.
func (r Request) String() string {
	object := r.Name
	if r.Namespace != "" {
		object = r.Namespace + "/" + object
	}
	return fmt.Sprintf("%s %s %s %s %d (%s, %s)", r.Time.Format("15:04:05.000"), r.Verb, r.Resource, object, r.Code, r.User, r.UserAgent)
}

// Mark is a point in the sequence of served requests. The zero Mark is the cluster's start.
type Mark int

// AuditLog returns the path of the API server's audit log: one JSON event on a line.
func (c *Cluster) AuditLog() string { return filepath.Join(c.dir, "audit.log") }

// Mark returns the present point in the sequence of requests: those that are complete,
// and watches that have begun, are before it.
func (c *Cluster) Mark() (Mark, error) {
	all, err := c.audit.read()
	return Mark(len(all)), err
}

// Requests returns the requests after since, in the order in which they were recorded.
// The API server records a request before it ends the answer, so a request whose answer a
// client has read to the end is always among them. A watch counts once, when it begins.
// What Start sends itself has the user agent "localcluster".
func (c *Cluster) Requests(since Mark) ([]Request, error) {
	all, err := c.audit.read()
	if err != nil {
		return nil, err
	}
	if since < 0 || int(since) > len(all) {
		return nil, fmt.Errorf("read the audit log: mark %d is not between 0 and %d", since, len(all))
	}
	return slices.Clone(all[since:]), nil
}

// auditReader follows the audit log and keeps what it read. Without memory it could not tell
// the end of a watch from a watch that failed at once.
type auditReader struct {
	path string

	mu       sync.Mutex
	offset   int64
	requests []Request
	open     map[string]bool // audit ids of watches that were counted when they began
}

// auditEvent has the fields of an audit.k8s.io/v1 Event that are used.
type auditEvent struct {
	AuditID   string
	Stage     string
	Verb      string
	UserAgent string
	User      struct{ Username string }
	ObjectRef struct {
		APIGroup, APIVersion, Resource, Subresource, Namespace, Name string
	}
	RequestURI               string
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp time.Time
	StageTimestamp           time.Time
}

// read takes in what was appended since the last call and returns all requests so far.
func (a *auditReader) read() (_ []Request, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.Open(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the API server makes it with the first request
	}
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return a.requests, nil // the rest of the line is still being written
		}
		e, err := parseEvent(data[:end])
		if err != nil {
			return nil, fmt.Errorf("read the audit log at byte %d: %w", a.offset, err)
		}
		a.add(e)
		a.offset += int64(end + 1)
		data = data[end+1:]
	}
}

// parseEvent reads one line. An API server that was killed may have left half an event, which
// the next one's first event then follows on the same line; the half is dropped, as its
// request was never answered.
func parseEvent(line []byte) (auditEvent, error) {
	var e auditEvent
	err := json.Unmarshal(line, &e)
	if err == nil {
		return e, nil
	}
	if i := bytes.LastIndex(line, []byte(`{"kind":"Event"`)); i > 0 {
		e = auditEvent{}
		err := json.Unmarshal(line[i:], &e)
		return e, err
	}
	return e, err
}

func (a *auditReader) add(e auditEvent) {
	switch {
	case e.Stage == "ResponseStarted":
		if a.open == nil {
			a.open = map[string]bool{}
		}
		a.open[e.AuditID] = true
	case a.open[e.AuditID]:
		delete(a.open, e.AuditID)
		return
	}
	a.requests = append(a.requests, Request{
		Verb:      e.Verb,
		User:      e.User.Username,
		UserAgent: e.UserAgent,
		Resource: Resource{
			Group: e.ObjectRef.APIGroup, Version: e.ObjectRef.APIVersion,
			Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
		},
		Namespace: e.ObjectRef.Namespace,
		Name:      e.ObjectRef.Name,
		URI:       e.RequestURI,
		Code:      e.ResponseStatus.Code,
		Time:      e.RequestReceivedTimestamp,
		Done:      e.StageTimestamp,
	})
}
