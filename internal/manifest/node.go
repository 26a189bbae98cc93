package manifest

import (
	"reflect"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// The extensions of OpenAPI by which Kubernetes says more about a field.
const (
	extListType     = "x-kubernetes-list-type"
	extListMapKeys  = "x-kubernetes-list-map-keys"
	extIntOrString  = "x-kubernetes-int-or-string"
	extPreserve     = "x-kubernetes-preserve-unknown-fields"
	extEmbedded     = "x-kubernetes-embedded-resource"
	extOneOf        = "x-holdfast-one-of"
	formatQuantity  = "quantity"
	formatLabel     = "dns-label"
	formatPortName  = "port-name"
	formatPort      = "port"
	formatInt32     = "int32"
	formatInt64     = "int64"
	formatDouble    = "double"
	formatByte      = "byte"
	typeObject      = "object"
	typeArray       = "array"
	typeInteger     = "integer"
	typeString      = "string"
	listTypeMap     = "map"
	listTypeSet     = "set"
	keyAPIVersion   = "apiVersion"
	keyKind         = "kind"
	keyMetadata     = "metadata"
	keyName         = "name"
	keySpec         = "spec"
	keyTemplate     = "template"
	keyLabels       = "labels"
	keyAnnotations  = "annotations"
	keyVolumeMounts = "volumeMounts"
)

// node is the schema of one field. What is below it is compiled when it is first asked for: a Deployment has more
// than a thousand fields, of which a manifest uses some thirty.
type node struct {
	schema     *spec.Schema
	kubernetes *Kubernetes
	// open is set where fields that the schema does not have are allowed.
	open bool
	// custom marks a part of a custom resource's schema, where what is not said is not allowed.
	custom bool
	// root and embedded resources have apiVersion, kind and metadata.
	resource bool

	fields map[string]*node
	other  *node
	entry  *node
	values *validate.SchemaValidator
	// judged is set once values is known.
	judged bool
}

// below makes the node of a schema inside of this one.
func (n *node) below(s *spec.Schema) *node {
	if name, ok := strings.CutPrefix(s.Ref.String(), refPrefix); ok {
		return n.kubernetes.definition(name)
	}
	b := &node{schema: s, kubernetes: n.kubernetes, custom: n.custom}
	b.settle()
	return b
}

// settle works out whether unknown fields are allowed.
func (n *node) settle() {
	n.resource = n.resource || n.flag(extEmbedded)
	extra := n.schema.AdditionalProperties
	n.open = n.flag(extPreserve) || extra != nil && extra.Allows && extra.Schema == nil ||
		!n.custom && len(n.schema.Properties) == 0
}

func (n *node) flag(extension string) bool {
	set, _ := n.schema.Extensions.GetBool(extension)
	return set
}

// field returns the schema of a field by its key, nil if there is no such field.
func (n *node) field(key string) *node {
	if f, ok := n.fields[key]; ok {
		return f
	}
	f := n.find(key)
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	n.fields[key] = f
	return f
}

func (n *node) find(key string) *node {
	if n.resource {
		switch key {
		case keyMetadata:
			return n.kubernetes.definition(objectMeta)
		case keyAPIVersion, keyKind:
			return n.below(spec.StringProperty())
		}
	}
	if s, ok := n.schema.Properties[key]; ok {
		return n.below(&s)
	}
	if extra := n.schema.AdditionalProperties; extra != nil && extra.Schema != nil {
		if n.other == nil {
			n.other = n.below(extra.Schema)
		}
		return n.other
	}
	return nil
}

// items returns the schema of a list's entries, nil if it says nothing about them.
func (n *node) items() *node {
	if n.entry == nil && n.schema.Items != nil && n.schema.Items.Schema != nil {
		n.entry = n.below(n.schema.Items.Schema)
	}
	return n.entry
}

// names are the keys of the fields that the schema has.
func (n *node) names() []string {
	var names []string
	for name := range n.schema.Properties {
		names = append(names, name)
	}
	if n.resource {
		names = append(names, keyAPIVersion, keyKind, keyMetadata)
	}
	return names
}

// mapKeys are the keys by which entries of a list are told apart, nil if they are not.
func (n *node) mapKeys() []string {
	if kind, _ := n.schema.Extensions.GetString(extListType); kind != listTypeMap {
		return nil
	}
	keys, _ := n.schema.Extensions.GetStringSlice(extListMapKeys)
	return keys
}

// validator judges a value of the field by what the schema says beyond structure and type, which are walked; nil if
// that is nothing, as for nearly all fields of built-in kinds.
func (n *node) validator() *validate.SchemaValidator {
	if n.judged {
		return n.values
	}
	n.judged = true
	values := *n.schema
	values.Properties, values.AdditionalProperties, values.PatternProperties = nil, nil, nil
	values.Items, values.Required = nil, nil
	more := values.SchemaProps
	more.Type, more.Nullable, more.Description, more.Title, more.Default = nil, false, "", "", nil
	if _, ours := forms[more.Format]; ours || more.Format == formatInt64 || more.Format == formatDouble {
		more.Format = ""
	}
	if len(values.Type) == 1 && values.Type[0] == typeString && !values.Nullable {
		more.Enum = nil // compared here
	}
	if !reflect.DeepEqual(more, spec.SchemaProps{}) {
		n.values = validate.NewSchemaValidator(&values, nil, "", strfmt.Default)
	}
	return n.values
}
