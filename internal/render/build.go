package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unique"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// slowAbove is the number of objects of one build from which on kustomize's quadratic time is felt.
const slowAbove = 1000

// Request asks for the objects of one app on one cluster.
type Request struct {
	// Tree holds the files of the commit whose content is wanted.
	Tree tree.Tree
	// App is the definition at that commit: overlays, namespace, substitute, allowEmpty.
	App *fleet.App
	// Facts are those of the cluster at that commit.
	Facts fleet.Facts
	// Share is how many replicas the Target has on this cluster; nil leaves the manifest's number.
	Share *int32
	// Target is the workload whose replicas are divided; nil is the only Deployment or StatefulSet.
	Target *fleet.Target
	// Instance is the value of LabelInstance.
	Instance string

	// factsOnce gives the facts' key, for all requests with the same facts; nil works it out each time.
	factsOnce func() string
	// made are the documents of builds of the same tree, nil if they are not kept.
	made *documents
}

// Result is one app rendered for one cluster. It is immutable and may be shared.
type Result struct {
	// Overlay is the folder that was built, relative to the fleet root.
	Overlay string
	// Objects are the good ones, sorted by ID.
	Objects []Object
	// Errors are the objects that are wrong by themselves, sorted by ID. They are desired all the
	// same: nothing of them may be applied or pruned.
	Errors []ObjectError
	// Content is a hash over all objects before the replicas are divided: hex SHA-256, its first
	// 32 digits. Objects with an error count, so that a broken state never looks like a good one.
	Content string
	// Warnings are for people: what works but should be changed.
	Warnings []string
	// Reads is all that the build looked at in the tree.
	Reads Reads
	// UsesFacts tells that the result may depend on the cluster's facts (beyond the overlay).
	UsesFacts bool
}

// ObjectError is what is wrong with one object.
type ObjectError struct {
	ID      object.ObjMetadata
	Message string
}

// Error names the object and says what is wrong with it.
func (e ObjectError) Error() string { return Name(e.ID) + ": " + e.Message }

// Build renders one app for one cluster, without a cache. An error means that the app's objects are
// unknown, never that there are none; it names the app's file or object at fault.
func Build(ctx context.Context, req Request) (Result, error) {
	overlay, err := req.App.Overlay(req.Facts.Labels)
	if err != nil {
		return Result{}, err
	}
	return build(ctx, req, overlay)
}

// build renders the overlay that the request comes to.
func build(ctx context.Context, req Request, overlay string) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	made, err := req.made.of(overlay, req.App.Spec.Namespace, func() (made, error) { return makeDocuments(req, overlay) })
	if err != nil {
		return Result{}, fmt.Errorf("app %q: overlay %q: %w", req.App.Name, overlay, err)
	}
	res := Result{Overlay: overlay, Warnings: made.warnings, Reads: made.reads, UsesFacts: made.usesFacts || req.App.Spec.Substitute}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}

	s, err := prepare(made.docs, req)
	if err != nil {
		return Result{}, fmt.Errorf("app %q: overlay %q: %w", req.App.Name, overlay, err)
	}
	if len(s.objects)+len(s.errors) == 0 && !req.App.Spec.AllowEmpty {
		return Result{}, fmt.Errorf("app %q: overlay %q: %w", req.App.Name, overlay, errNothing)
	}
	target, err := s.divide(req)
	if err != nil {
		return Result{}, fmt.Errorf("app %q: divide replicas: %w", req.App.Name, err)
	}
	if err := s.encode(req, target, &res); err != nil {
		return Result{}, fmt.Errorf("app %q: %w", req.App.Name, err)
	}
	return res, nil
}

// made is what is made of an overlay before facts are substituted. The documents are not changed by what comes after.
type made struct {
	docs      []*yaml.Node
	warnings  []string
	reads     Reads
	usesFacts bool
}

// makeDocuments builds an overlay.
func makeDocuments(req Request, overlay string) (m made, err error) {
	f := newFiles(req.Tree, req.Facts)
	m.docs, err = f.documents(overlay, req.App.Spec.Namespace, &m)
	m.reads, m.usesFacts = f.recorded(), f.usedFacts
	return m, err
}

// documents builds the overlay and returns what it holds, as YAML.
func (f *files) documents(overlay, namespace string, m *made) ([]*yaml.Node, error) {
	overlay = path.Clean(overlay)
	tree, err := f.check(overlay)
	if err != nil {
		return nil, err
	}
	m.warnings = append(m.warnings, tree.warnings...)
	if tree.plain && namespace == "" {
		nodes, err := f.plain(tree.list)
		if !errors.Is(err, errNotPlain) {
			return nodes, err
		}
	}
	nodes, err := f.kustomize(overlay, namespace, tree.schema)
	if len(nodes) > slowAbove {
		m.warnings = append(m.warnings, fmt.Sprintf(
			"%d objects in one build: kustomize takes quadratic time; split the app, or only list resources in it", len(nodes)))
	}
	return nodes, err
}

// set is the objects of one app while they are worked on.
type set struct {
	objects []draft
	errors  []ObjectError
}

// draft is one object, not yet encoded.
type draft struct {
	id      object.ObjMetadata
	version string
	content map[string]any
}

func (s *set) fail(id object.ObjMetadata, messages ...string) {
	for _, m := range messages {
		s.errors = append(s.errors, ObjectError{ID: id, Message: m})
	}
}

// prepare turns documents into objects. What is wrong with one object is recorded with it; an
// error means that an object could not even be identified, so that the set is unknown.
func prepare(docs []*yaml.Node, req Request) (*set, error) {
	s := &set{}
	var unknown []error
	vars := newVariables(req.Facts)
	seen := map[object.ObjMetadata]bool{}
	for _, doc := range docs {
		content, err := decode(doc)
		if err != nil {
			unknown = append(unknown, fmt.Errorf("%s: %s", keyOf(doc), tidy(err)))
			continue
		}
		for _, content := range flatten(content) {
			if isLocal(content) {
				continue
			}
			var faults []string
			if req.App.Spec.Substitute && annotation(content, annotationSubstitute) != disabled {
				faults = vars.substitute(content)
			}
			id, version, err := identify(content)
			if err == nil && len(faults) > 0 && strings.Contains(Name(id), "${") {
				err = fmt.Errorf("%s: its name cannot be known", Name(id))
			}
			if err != nil {
				unknown = append(unknown, errors.Join(append(wrap(faults), err)...))
				continue
			}
			if s.taken(seen, id) {
				continue
			}
			faults = append(faults, validate(content)...)
			if len(faults) == 0 {
				faults = normalise(content, id.GroupKind)
			}
			if len(faults) > 0 {
				s.fail(id, faults...)
				continue
			}
			s.objects = append(s.objects, draft{id: id, version: version, content: content})
		}
	}
	return s, errors.Join(unknown...)
}

func wrap(messages []string) (errs []error) {
	for _, m := range messages {
		errs = append(errs, errors.New(m))
	}
	return errs
}

// taken records id. An id that was there already is an error, and neither of the two is applied:
// which one is meant nobody can say.
func (s *set) taken(seen map[object.ObjMetadata]bool, id object.ObjMetadata) bool {
	k := id
	if k.Namespace == "default" {
		k.Namespace = "" // what apply fills in for a namespaced kind
	}
	if !seen[k] {
		seen[k] = true
		return false
	}
	s.objects = slices.DeleteFunc(s.objects, func(d draft) bool {
		other := d.id
		if other.Namespace == "default" {
			other.Namespace = ""
		}
		return other == k
	})
	message := "declared more than once in this app"
	if !slices.Contains(s.errors, ObjectError{ID: id, Message: message}) {
		s.fail(id, message)
	}
	return true
}

// encode labels the objects, encodes them and sorts all by ID. target is the object whose replicas
// were divided, nil if none.
func (s *set) encode(req Request, target *division, res *Result) error {
	var e encoder
	sum := sha256.New()
	slices.SortFunc(s.objects, func(a, b draft) int { return compare(a.id, b.id) })
	res.Objects = make([]Object, 0, len(s.objects))
	for _, d := range s.objects {
		stamp(d.content, req)
		var whole []byte
		if target != nil && d.id == target.id {
			var err error
			if whole, err = e.encode(d.content); err != nil {
				return fmt.Errorf("encode %s: %w", Name(d.id), err)
			}
			if fault := target.apply(d.content); fault != "" {
				s.fail(d.id, fault)
				continue
			}
		}
		b, err := e.encode(d.content)
		if err != nil {
			return fmt.Errorf("encode %s: %w", Name(d.id), err)
		}
		if whole == nil {
			whole = b
		}
		sum.Write(whole)
		sum.Write([]byte{'\n'})
		res.Objects = append(res.Objects, Object{
			ID: d.id, Version: d.version, App: req.App.Name,
			JSON: b, Hash: hash(b), Annotations: steering(d.content),
		})
	}
	slices.SortStableFunc(s.errors, func(a, b ObjectError) int { return compare(a.ID, b.ID) })
	for _, e := range s.errors {
		sum.Write([]byte(e.Error()))
		sum.Write([]byte{'\n'})
	}
	res.Errors = s.errors
	res.Content = hex.EncodeToString(sum.Sum(nil))[:32]
	return nil
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:32]
}

// compare orders IDs by group, kind, namespace and name.
func compare(a, b object.ObjMetadata) int {
	for _, c := range []int{
		strings.Compare(a.GroupKind.Group, b.GroupKind.Group),
		strings.Compare(a.GroupKind.Kind, b.GroupKind.Kind),
		strings.Compare(a.Namespace, b.Namespace),
	} {
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a.Name, b.Name)
}

// stamp sets the labels of ownership, whatever the manifest says.
func stamp(content map[string]any, req Request) {
	meta, _ := content["metadata"].(map[string]any)
	labels, ok := meta["labels"].(map[string]any)
	if !ok {
		labels = map[string]any{}
		meta["labels"] = labels
	}
	labels[LabelInstance] = req.Instance
	labels[LabelApp] = req.App.Name
}

// identify returns the identity of an object, or what keeps it from having one.
func identify(content map[string]any) (object.ObjMetadata, string, error) {
	var id object.ObjMetadata
	kind, _ := content["kind"].(string)
	apiVersion, _ := content["apiVersion"].(string)
	meta, _ := content["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	for _, part := range []struct{ field, value string }{
		{"kind", kind}, {"apiVersion", apiVersion}, {"metadata.name", name},
	} {
		if part.value == "" {
			return id, "", fmt.Errorf("an object without %s (kind %q, namespace %q, name %q)", part.field, kind, namespace, name)
		}
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || gv.Version == "" {
		return id, "", fmt.Errorf("%s %q: apiVersion %q is not group/version", kind, name, apiVersion)
	}
	if clusterScoped(schema.GroupKind{Group: gv.Group, Kind: kind}) {
		delete(meta, "namespace")
		namespace = ""
	}
	// All but the name is the same for many objects, and in memory once.
	return object.ObjMetadata{
		GroupKind: schema.GroupKind{Group: shared(gv.Group), Kind: shared(kind)},
		Namespace: shared(namespace), Name: name,
	}, shared(gv.Version), nil
}

func shared(s string) string { return unique.Make(s).Value() }
