package kube

const (
	// DefaultInstance is the instance of an agent that was told no other.
	DefaultInstance = "holdfast-system"
	// defaultManager is the field manager of the default instance.
	defaultManager = "holdfast"
	// maxManager is the API server's limit for the length of a field manager's name.
	maxManager = 128
)

// FieldManager is the name under which an instance applies: "holdfast" for the default instance,
// else "holdfast-<instance>". Two instances on one cluster must differ here, or each would
// remove what the other declares.
func FieldManager(instance string) string {
	if instance == "" || instance == DefaultInstance {
		return defaultManager
	}
	name := defaultManager + "-" + instance
	if len(name) > maxManager {
		name = name[:maxManager]
	}
	return name
}
