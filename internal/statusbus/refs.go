package statusbus

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// RefPrefix is what the names of the clusters' refs begin with.
const RefPrefix = "refs/holdfast/status/"

// File is the name of the report in a commit.
const File = "status.json"

// Ref is the ref of a cluster.
func Ref(cluster string) string { return RefPrefix + cluster }

// clusterOf is the cluster whose ref this is; false if it is no cluster's.
func clusterOf(ref string) (string, bool) {
	name, ok := strings.CutPrefix(ref, RefPrefix)
	return name, ok && checkName(name) == nil
}

// checkName insists on a DNS label: nothing else is a cluster, and nothing else fits into a ref.
func checkName(cluster string) error {
	if len(validation.IsDNS1123Label(cluster)) > 0 {
		return fmt.Errorf("%q is not the name of a cluster: it must be a DNS label", cluster)
	}
	return nil
}
