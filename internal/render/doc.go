// Package render turns one commit of the fleet repository into the objects that one cluster should
// have. It is pure: it reads a tree.Tree, and neither a network, a clock nor a process.
//
// Build renders one app for one cluster. The steps, in order:
//
//   - The kustomization tree is walked and checked before kustomize sees it: remote bases, Helm
//     charts and entries that do not exist are errors that name the file and the entry.
//   - kustomize builds the overlay through a read-only file system that is confined to the fleet
//     repository and records all it is asked. A kustomization that only lists resources takes a
//     straight path instead, since kustomize takes quadratic time; both give the same objects.
//   - A ConfigMap named holdfast-cluster that is marked local-config gets the cluster's facts as its
//     data before the build, so that replacements carry them into other objects.
//   - Objects marked local-config are dropped; ${...} is substituted where the app asks for it;
//     what the API server would turn into something else is normalised; the replicas that fall to
//     this cluster are set; the two labels of ownership are stamped.
//   - The result is canonical JSON with its hash, sorted by ID: equal input gives equal bytes.
//
// A Renderer keeps results. Every build records what it looked at, what it did not find included; a
// result serves for another commit as long as the comparison of the two trees touches none of that. An app
// that is not touched keeps its list of objects, the very same slice, and one that is shares with its
// earlier result the objects that come out equal. What several clusters have in common is built once.
//
// # Cluster facts
//
// The placeholder's data keys are name, label.<key> and var.<key>. Keys with slashes and dots are
// no trouble, since the ConfigMap is never applied; in a replacement's fieldPath they are written in
// brackets:
//
//	replacements:
//	- source:
//	    kind: ConfigMap
//	    name: holdfast-cluster
//	    fieldPath: data.[label.topology.kubernetes.io/zone]
//
// With spec.substitute, ${CLUSTER_NAME}, ${CLUSTER_LABEL_<KEY>} (the label's key in upper case, what
// is not a letter or digit as _) and ${<var>} (the var's own name, case and all) are replaced in
// keys and string values; bash's defaults such as ${x:-y} work and $${x} gives ${x}. A value that is
// one expression and nothing else takes its YAML type, as in "replicas: ${count}", save where
// Kubernetes wants a string (labels, annotations, data of ConfigMaps and Secrets, env values,
// command and args). Facts are inserted as values and never as YAML text, so none can break out of
// its field. A string without "${" is left as it is.
//
// # Errors
//
// Nothing is known of an app whose Build returns an error: it must not be taken for empty. An
// object that is wrong by itself is an ObjectError; its ID still is desired, and the other objects
// are returned.
//
// # Limits of kustomize
//
// kustomize keeps one OpenAPI schema per process. A build whose tree names openapi or crds therefore
// runs alone and resets the schema afterwards; all others run in parallel. Some mistakes make
// kustomize's YAML library run away or crash (aliases that expand without end, anchors that contain
// themselves), so files are checked for them first, and sizes are bounded. A panic becomes the error
// of its app. kustomize prints warnings about deprecated fields to standard error by itself.
package render
