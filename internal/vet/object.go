package vet

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/manifest"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

// definitions of one cluster, by kind.
type definitions map[schema.GroupKind]*manifest.Definition

// cluster judges what one cluster would get if every app that can be placed there were.
func (v *vetter) cluster(c *fleet.Cluster, res *render.ClusterResult) {
	crds := v.definedBy(res)
	for i := range res.Apps {
		a := &res.Apps[i]
		if !a.Placed {
			continue
		}
		if a.Err != nil {
			v.failed[a.App.Name] = true
			v.buildError(c, a)
			continue
		}
		for _, w := range a.Warnings {
			at, message := v.inFile(a.Overlay, w)
			v.add(at, found{code: BuildWarning, severity: Warning, message: message, app: a.App.Name, cluster: c.Name})
		}
		for _, e := range a.ObjectErrors {
			v.objectError(c, a, e)
		}
		for j := range a.Objects {
			v.object(c, a, &a.Objects[j], crds)
		}
		v.ignored(a)
	}
	v.together(c, res, crds)
}

// buildError reports an app that does not build on a cluster.
func (v *vetter) buildError(c *fleet.Cluster, a *render.AppResult) {
	overlay, err := a.App.Overlay(c.Labels)
	if err != nil {
		return // said of the app's overlays
	}
	message := strings.TrimPrefix(a.Err.Error(), fmt.Sprintf("app %q: ", a.App.Name))
	message = strings.TrimPrefix(message, fmt.Sprintf("overlay %q: ", overlay))
	f := found{code: BuildFailed, app: a.App.Name, cluster: c.Name}
	var at position
	if divided, ok := strings.CutPrefix(message, "divide replicas: "); ok {
		f.code, f.message = Replicas, divided
		at = v.sources.field(appFile(a.App), "spec", "replicas")
	} else {
		at, f.message = v.inFile(overlay, message)
	}
	v.add(at, f)
}

var (
	// accumulationForm is how kustomize wraps what is wrong with a file: it has tried it as a folder too.
	accumulationForm = regexp.MustCompile(`accumulating resources: accumulation err='accumulating resources from '([^']*)': (.*)': must build at directory: '[^']*': file is not directory`)

	pathForm   = regexp.MustCompile(`[A-Za-z0-9_@+][A-Za-z0-9_./@+-]*`)
	lineForm   = regexp.MustCompile(`\bline (\d+)\b`)
	quotedForm = regexp.MustCompile(`"([^"]+)"`)
)

// inFile finds the file that a message of a build names, and the line if it names that or quotes something of it. The
// message is returned without the file, if it begins with it.
func (v *vetter) inFile(overlay, message string) (position, string) {
	message = strings.ReplaceAll(strings.TrimSpace(message), "\n", "; ")
	message = accumulationForm.ReplaceAllString(message, "$1: $2")
	at := position{file: v.sources.kustomization(overlay)}
	for _, name := range pathForm.FindAllString(message, -1) {
		name = strings.TrimRight(name, ".")
		if !strings.Contains(name, ".") {
			continue
		}
		if file, ok := v.isFile(name, overlay); ok {
			at.file = file
			break
		}
	}
	message = strings.TrimPrefix(message, at.file+": ")
	if m := lineForm.FindStringSubmatch(message); m != nil {
		at.line, _ = strconv.Atoi(m[1])
		return at, message
	}
	b, err := v.tree.ReadFile(at.file)
	if err != nil {
		return at, message
	}
	for _, m := range quotedForm.FindAllStringSubmatch(message, -1) {
		for i, line := range strings.Split(string(b), "\n") {
			if strings.Contains(line, m[1]) && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				at.line = i + 1
				return at, message
			}
		}
	}
	return at, message
}

// isFile tells whether a path, in the repository or in an overlay, is a file.
func (v *vetter) isFile(name, overlay string) (string, bool) {
	for _, file := range []string{path.Clean(name), path.Join(overlay, name)} {
		if e, err := v.tree.Stat(file); err == nil && !e.IsDir() {
			return file, true
		}
	}
	return "", false
}

// objectError reports an object that is wrong by itself.
func (v *vetter) objectError(c *fleet.Cluster, a *render.AppResult, e render.ObjectError) {
	f := found{code: InvalidValue, message: e.Message, app: a.App.Name, object: render.Name(e.ID), cluster: c.Name}
	field := fieldIn(e.Message)
	if strings.HasPrefix(e.Message, "declared more than once") {
		f.code = DuplicateObject
	}
	v.addAt(func() position {
		if m := undefinedForm.FindStringSubmatch(e.Message); m != nil {
			if at, ok := v.sources.variable(a.Overlay, e.ID, m[1]); ok {
				return at
			}
		}
		return v.sources.object(a.Overlay, e.ID, field, nil)
	}, a.Overlay, f)
}

// undefinedForm is how a variable is reported that ${...} names and the cluster does not have.
var undefinedForm = regexp.MustCompile(`undefined variables? (\w+)`)

// fieldForm is how messages about objects begin: metadata.labels["a"], data["b"], metadata.name.
var fieldForm = regexp.MustCompile(`^([A-Za-z]+(?:\.[A-Za-z]+)*)(?:\["([^"]+)"\])?[ :]`)

// fieldIn is the field that a message about an object begins with, nil if it begins with none.
func fieldIn(message string) (p manifest.Path) {
	m := fieldForm.FindStringSubmatch(message)
	if m == nil {
		return nil
	}
	for step := range strings.SplitSeq(m[1], ".") {
		p = append(p, step)
	}
	if m[2] != "" {
		p = append(p, m[2])
	}
	return p
}

// checkedKey is an object, and what its kind is defined by: nil for what Kubernetes defines.
type checkedKey struct {
	hash string
	by   *manifest.Definition
}

// checked is what is wrong with an object.
type checked struct {
	faults  []manifest.Fault
	content map[string]any
}

// object judges one object by its kind.
func (v *vetter) object(c *fleet.Cluster, a *render.AppResult, o *render.Object, crds definitions) {
	gvk := o.GVK()
	f := found{app: a.App.Name, object: render.Name(o.ID), cluster: c.Name}
	kind, by, message := v.kind(gvk, crds)
	if message != "" {
		f.code, f.message = UnknownKind, message
		v.addAt(func() position { return v.sources.object(a.Overlay, o.ID, manifest.Path{"apiVersion"}, nil) }, a.Overlay, f)
		return
	}
	if kind == nil {
		v.uncheckedKind(a, o, f, crds)
		return
	}
	key := checkedKey{o.Hash, by}
	known := v.checked[key]
	if known == nil {
		known = &checked{}
		if u, err := o.Unstructured(); err == nil { // it was encoded a moment ago
			if known.faults = kind.Check(u.Object); len(known.faults) > 0 {
				known.content = u.Object
			}
		}
		v.checked[key] = known
	}
	if d := v.definitions[o.Hash]; d.err != nil && len(known.faults) == 0 {
		f.code, f.message = InvalidValue, "no resource could be checked by it: "+d.err.Error()
		v.addAt(func() position { return v.sources.object(a.Overlay, o.ID, manifest.Path{"spec"}, nil) }, a.Overlay, f)
	}
	for _, fault := range known.faults {
		f.code, f.message = Code(fault.Rule), fieldOf(fault.Field, known.content)+fault.Message
		v.addAt(func() position { return v.sources.object(a.Overlay, o.ID, fault.Field, known.content) }, a.Overlay, f)
	}
}

// fieldOf writes a field for people, with entries of lists by their names where they have one: an overlay may have put
// them in another order.
func fieldOf(p manifest.Path, content any) string {
	var b strings.Builder
	for i, step := range p {
		content = get(content, p[i:i+1])
		m, _ := content.(map[string]any)
		name, named := m["name"].(string)
		if _, inList := step.(int); inList && named {
			b.WriteString("[" + name + "]")
			continue
		}
		text := manifest.Path{step}.String()
		if _, isKey := step.(string); isKey && b.Len() > 0 && !strings.HasPrefix(text, "[") {
			b.WriteString(".")
		}
		b.WriteString(text)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	return b.String()
}

// kind finds by what an object is judged: nil if nothing is known of its kind, or a message that says that there cannot
// be such a kind.
func (v *vetter) kind(gvk schema.GroupVersionKind, crds definitions) (kind *manifest.Kind, by *manifest.Definition, message string) {
	if kind, ok := v.kinds.Kind(gvk); ok {
		return kind, nil, ""
	}
	if v.kinds.Owns(gvk.Group) {
		message = fmt.Sprintf("Kubernetes %s has no %s %s", v.kinds.Minor(), gvk.GroupVersion(), gvk.Kind)
		if meant := v.kinds.Meant(gvk); meant != "" {
			message += fmt.Sprintf(" (did you mean %q?)", meant)
		}
		return nil, nil, message
	}
	candidates := v.repo.definitions[gvk.GroupKind()]
	if d := crds[gvk.GroupKind()]; d != nil {
		candidates = []*manifest.Definition{d}
	}
	for _, d := range candidates {
		if kind, ok := d.Kind(gvk.Version); ok {
			return kind, d, ""
		}
	}
	if len(candidates) > 0 && len(candidates[0].Versions) > 0 {
		return nil, nil, fmt.Sprintf("the CustomResourceDefinition of %s does not serve version %s, but %s",
			gvk.GroupKind(), gvk.Version, strings.Join(candidates[0].Versions, ", "))
	}
	return nil, nil, ""
}

// uncheckedKind says once of a kind that nothing is known of it.
func (v *vetter) uncheckedKind(a *render.AppResult, o *render.Object, f found, crds definitions) {
	gvk := o.GVK()
	if v.unchecked[gvk] || crds[gvk.GroupKind()] != nil { // of a definition that cannot be used, that is said
		return
	}
	v.unchecked[gvk] = true
	var groups []string
	for gk := range v.repo.definitions {
		if gk.Kind == gvk.Kind {
			groups = append(groups, gk.Group)
		}
	}
	for gk := range crds {
		if gk.Kind == gvk.Kind {
			groups = append(groups, gk.Group)
		}
	}
	slices.Sort(groups)
	f.code, f.severity, f.cluster, f.app, f.object = UncheckedKind, Warning, "", "", ""
	f.message = fmt.Sprintf("objects of kind %s (%s) are not checked: no CustomResourceDefinition of it is in this repository%s",
		gvk.Kind, gvk.GroupVersion(), spell.DidYouMean(gvk.Group, groups))
	v.add(v.sources.object(a.Overlay, o.ID, manifest.Path{"apiVersion"}, nil), f)
}

// definition is what a rendered CustomResourceDefinition defines, or why it defines nothing.
type definition struct {
	*manifest.Definition

	err error
}

// definedBy collects the CustomResourceDefinitions among a cluster's objects.
func (v *vetter) definedBy(res *render.ClusterResult) definitions {
	all := definitions{}
	for i := range res.Apps {
		for j := range res.Apps[i].Objects {
			o := &res.Apps[i].Objects[j]
			if !manifest.IsDefinition(o.GVK()) {
				continue
			}
			d, known := v.definitions[o.Hash]
			if !known {
				d.Definition, d.err = v.kinds.Define(o.JSON)
				v.definitions[o.Hash] = d
			}
			if d.GroupKind.Kind != "" {
				all[d.GroupKind] = d.Definition
			}
		}
	}
	return all
}

// ignored notes which rules of spec.drift.ignore match an object.
func (v *vetter) ignored(a *render.AppResult) {
	rules := a.App.Spec.Drift.Ignore
	matched := v.ignores[a.App.Name]
	if matched == nil {
		matched = make([]bool, len(rules))
		v.ignores[a.App.Name] = matched
	}
	for i, rule := range rules {
		if matched[i] {
			continue
		}
		one := fleet.DriftPolicy{Ignore: []fleet.DriftIgnore{rule}}
		matched[i] = slices.ContainsFunc(a.IDs(), func(id object.ObjMetadata) bool {
			return len(one.IgnoredFields(id.GroupKind.Group, id.GroupKind.Kind, id.Namespace, id.Name)) > 0
		})
	}
}

// unusedIgnores reports rules of spec.drift.ignore that match nothing, wherever the app is built.
func (v *vetter) unusedIgnores() {
	for _, a := range v.fleet.Apps {
		for i, matched := range v.ignores[a.Name] {
			if !matched && !v.failed[a.Name] {
				v.add(v.sources.field(appFile(a), "spec", "drift", "ignore", i), found{
					code: UnusedIgnore, severity: Warning, app: a.Name, message: "the rule matches no object of the app",
				})
			}
		}
	}
}
