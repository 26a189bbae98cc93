package fleet

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxClusterName leaves room for "cluster-" in the 63 characters of the implicit app's name.
const maxClusterName = 55

var (
	commitForm  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	varForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	pointerForm = regexp.MustCompile(`^(/([^~/]|~[01])*)+$`)
)

func (*Settings) kind() string { return KindFleet }
func (*Cluster) kind() string  { return KindCluster }
func (*App) kind() string      { return KindApp }

// validate checks the values of fleet.yaml.
func (s *Settings) validate(r *report) {
	s.Metadata.validate(r)
	prune := s.Spec.Prune
	if p := prune.MaxPercent; p != nil && (*p < 0 || *p > 100) {
		r.fail("spec.prune.maxPercent", "must be between 0 and 100, is %d", *p)
	}
	if m := prune.MinObjects; m != nil && *m < 0 {
		r.fail("spec.prune.minObjects", "must not be negative, is %d", *m)
	}
	for i, permit := range prune.Permit {
		field := fmt.Sprintf("spec.prune.permit[%d]", i)
		checkLabel(r, field+".app", permit.App)
		for j, kind := range permit.Kinds {
			checkSet(r, fmt.Sprintf("%s.kinds[%d]", field, j), kind)
		}
	}
	if h := s.Spec.AcceptHistory; h != "" && !commitForm.MatchString(h) {
		r.fail("spec.acceptHistory", "must be a full commit id of 40 (or 64) lower-case hexadecimal digits, is %s", quote(h))
	}
}

// validate checks the values of a cluster.yaml.
func (c *Cluster) validate(r *report) {
	c.Metadata.validate(r)
	if len(c.Name) > maxClusterName {
		r.fail("metadata.name", "must be at most %d characters long, is %d", maxClusterName, len(c.Name))
	}
	if w := c.Spec.Weight; w != nil && *w < 1 {
		r.fail("spec.weight", "must be at least 1, is %d", *w)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Spec.Vars)) {
		switch {
		case !varForm.MatchString(name):
			r.fail(join("spec.vars", name), "the name must be letters, digits and underscores, and not begin with a digit")
		case name == "CLUSTER_NAME" || strings.HasPrefix(name, "CLUSTER_LABEL_"):
			r.fail(join("spec.vars", name), "the name is taken by the cluster's own facts")
		}
	}
}

// validate checks the values of an app.yaml, as far as they can be judged without its place in the tree.
func (a *App) validate(r *report) {
	a.Metadata.validate(r)
	spec := &a.Spec
	if n := spec.Placement.Clusters; n != nil && *n < 1 {
		r.fail("spec.placement.clusters", "must be at least 1, is %d", *n)
	}
	if key := spec.Placement.SpreadBy; key != "" {
		checkAll(r, "spec.placement.spreadBy", validation.IsQualifiedName(key))
	}
	for i, overlay := range spec.Overlays {
		field := fmt.Sprintf("spec.overlays[%d].path", i)
		switch {
		case overlay.Path == "":
			r.fail(field, "%s", errEmptyPath)
		case path.IsAbs(overlay.Path):
			r.fail(field, "%s", errLeavesRepository)
		}
	}
	if spec.Namespace != "" {
		checkLabel(r, "spec.namespace", spec.Namespace)
	}
	if spec.Replicas != nil {
		spec.Replicas.validate(r)
	}
	for i, name := range spec.DependsOn {
		field := fmt.Sprintf("spec.dependsOn[%d]", i)
		checkLabel(r, field, name)
		switch {
		case name == a.Name:
			r.fail(field, "an app cannot depend on itself")
		case slices.Contains(spec.DependsOn[:i], name):
			r.fail(field, "%q is given twice", name)
		}
	}
	if n := spec.Rollout.MaxFailures; n < 0 {
		r.fail("spec.rollout.maxFailures", "must not be negative, is %d", n)
	}
	if _, given := r.lines["spec.health.timeout"]; given && spec.Health.Timeout.Duration == 0 {
		r.fail("spec.health.timeout", "must be more than 0")
	}
	for i, ignore := range spec.Drift.Ignore {
		ignore.validate(r, fmt.Sprintf("spec.drift.ignore[%d]", i))
	}
	if n := spec.Placement.Clusters; spec.Failover.Gate == Exclusive && (n == nil || *n != 1) {
		r.fail("spec.failover.gate", "Exclusive allows at most one cluster: set spec.placement.clusters to 1")
	}
}

func (s *Replicas) validate(r *report) {
	if s.Total < 0 {
		r.fail("spec.replicas.total", "must not be negative, is %d", s.Total)
	}
	if s.Target != nil {
		checkSet(r, "spec.replicas.target.kind", s.Target.Kind)
		checkSet(r, "spec.replicas.target.name", s.Target.Name)
	}
}

func (i DriftIgnore) validate(r *report, field string) {
	if len(i.Fields) == 0 {
		r.fail(field+".fields", "must name at least one field")
	}
	for j, pointer := range i.Fields {
		if !pointerForm.MatchString(pointer) {
			r.fail(fmt.Sprintf("%s.fields[%d]", field, j), "must be a JSON pointer such as /spec/replicas, is %s", quote(pointer))
		}
	}
}

func (m Metadata) validate(r *report) {
	checkLabel(r, "metadata.name", m.Name)
	for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
		field := join("metadata.labels", key)
		checkAll(r, field, validation.IsQualifiedName(key))
		checkAll(r, field, validation.IsValidLabelValue(m.Labels[key]))
	}
}

// checkLabel reports a name that is no DNS label.
func checkLabel(r *report, field, name string) {
	if len(validation.IsDNS1123Label(name)) > 0 {
		r.fail(field, "must be lower-case letters, digits and dashes, at most 63 characters (a DNS label), is %s", quote(name))
	}
}

// checkSet reports an empty string.
func checkSet(r *report, field, value string) {
	if value == "" {
		r.fail(field, "must not be empty")
	}
}

// checkAll reports what a validation of Kubernetes says.
func checkAll(r *report, field string, messages []string) {
	for _, message := range messages {
		r.fail(field, "%s", oneLine(message))
	}
}
