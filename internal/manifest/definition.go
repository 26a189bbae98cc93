package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

// Definition is what a CustomResourceDefinition defines.
type Definition struct {
	// GroupKind is the kind that it defines.
	GroupKind schema.GroupKind
	// Versions that are served, in the order of the manifest.
	Versions []string

	kinds map[string]*Kind
}

// Kind returns the kind in one version, false if that is not served.
func (d *Definition) Kind(version string) (*Kind, bool) {
	k, ok := d.kinds[version]
	return k, ok
}

// crd is the part of a CustomResourceDefinition that is read.
type crd struct {
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Served bool   `json:"served"`
			Schema struct {
				OpenAPIV3Schema *spec.Schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// IsDefinition tells whether objects of a kind are CustomResourceDefinitions that Define reads.
func IsDefinition(gvk schema.GroupVersionKind) bool {
	return gvk == schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
}

// Define reads a CustomResourceDefinition (apiextensions.k8s.io/v1) in JSON. An error says that it defines nothing by
// which a manifest could be judged; the Definition says then no more than which kind it is of, if that is known.
func (k *Kubernetes) Define(data []byte) (d *Definition, err error) {
	d = &Definition{kinds: map[string]*Kind{}}
	// The schema is foreign input for foreign code, which panics on some.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its schema cannot be used: %v", p)
		}
	}()
	var c crd
	if err := json.Unmarshal(data, &c); err != nil {
		return d, err
	}
	if c.Spec.Names.Kind == "" || c.Spec.Group == "" {
		return d, errors.New("it names no kind and group")
	}
	d.GroupKind = schema.GroupKind{Group: c.Spec.Group, Kind: c.Spec.Names.Kind}
	for _, v := range c.Spec.Versions {
		if !v.Served {
			continue
		}
		root := &node{schema: v.Schema.OpenAPIV3Schema, kubernetes: k, custom: true, resource: true}
		if root.schema == nil {
			return d, fmt.Errorf("its version %s has no schema", v.Name)
		}
		if err := normalise(root.schema); err != nil {
			return d, fmt.Errorf("its version %s: %w", v.Name, err)
		}
		// What a custom resource may say of its own metadata is little, and judged by no more than Kubernetes' rules.
		delete(root.schema.Properties, keyMetadata)
		root.settle()
		d.Versions = append(d.Versions, v.Name)
		d.kinds[v.Name] = &Kind{
			gvk: d.GroupKind.WithVersion(v.Name), Namespaced: c.Spec.Scope == "Namespaced", root: root,
		}
	}
	return d, nil
}

// normalise turns a structural schema into plain OpenAPI, as the API server does before it validates by it: a field
// that may be a number or a string gets both types, and formats that Kubernetes does not know mean nothing. It refuses
// what the API server refuses and the validator cannot do with.
func normalise(s *spec.Schema) error {
	if ref := s.Ref.String(); ref != "" {
		return fmt.Errorf("a $ref, %s, is not allowed in a schema", quote(ref))
	}
	if _, err := regexp.Compile(s.Pattern); err != nil {
		return fmt.Errorf("a pattern cannot be used: %w", err)
	}
	if set, _ := s.Extensions.GetBool(extIntOrString); set && len(s.Type) == 0 {
		s.Type = spec.StringOrArray{typeInteger, typeString}
	}
	if !knownFormat(s) {
		s.Format = ""
	}
	var errs []error
	each := func(list []spec.Schema) {
		for i := range list {
			errs = append(errs, normalise(&list[i]))
		}
	}
	for name, p := range s.Properties {
		errs = append(errs, normalise(&p))
		s.Properties[name] = p
	}
	each(s.AllOf)
	each(s.AnyOf)
	each(s.OneOf)
	if s.Not != nil {
		errs = append(errs, normalise(s.Not))
	}
	if s.Items != nil && s.Items.Schema != nil {
		errs = append(errs, normalise(s.Items.Schema))
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		errs = append(errs, normalise(s.AdditionalProperties.Schema))
	}
	return errors.Join(errs...)
}

// knownFormat tells whether the API server checks a schema's format.
func knownFormat(s *spec.Schema) bool {
	if len(s.Type) > 1 {
		return false
	}
	switch {
	case len(s.Type) == 0 || s.Type[0] == typeString:
		return s.Format != formatQuantity && strfmt.Default.ContainsName(s.Format)
	case s.Type[0] == typeInteger:
		return slices.Contains([]string{formatInt32, formatInt64}, s.Format)
	case s.Type[0] == "number":
		return slices.Contains([]string{"float", formatDouble}, s.Format)
	}
	return false
}
