package live

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Declared tells whether a tool that applies manifests (see Adopted) has an entry in managedFields,
// so that an object which is adopted may have fields that only that tool declared.
func Declared(managed []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool {
		return e.Subresource == "" && (e.Manager == beforeFirstApply || slices.Contains(declarers, e.Manager))
	})
}
