package render

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// schemaLock guards kustomize's OpenAPI schema, which is one per process: builds that set it hold
// the lock alone and put the built-in schema back; the others share it.
var (
	schemaLock sync.RWMutex
	schemaOnce sync.Once
)

// kustomize builds dir. The kustomizations must have passed the check. With a namespace, dir is the
// only resource of a kustomization that sets it, as if the user had written that.
func (f *files) kustomize(dir, namespace string, schema bool) (nodes []*yaml.Node, err error) {
	// Parsed before the first build: kustomize would parse it on the first need, while other
	// builds read it without its lock.
	schemaOnce.Do(func() { openapi.Schema() })
	if schema {
		schemaLock.Lock()
		defer schemaLock.Unlock()
		defer func() {
			openapi.ResetOpenAPI()
			openapi.Schema()
		}()
	} else {
		schemaLock.RLock()
		defer schemaLock.RUnlock()
	}
	defer func() {
		if p := recover(); p != nil {
			nodes, err = nil, fmt.Errorf("kustomize panicked: %v", p)
		}
	}()

	target := path.Join(mount, dir)
	if namespace != "" {
		k := map[string]any{"namespace": namespace, "resources": []string{".." + target}}
		if f.overlay, err = yaml.Marshal(k); err != nil {
			return nil, fmt.Errorf("set namespace %q: %w", namespace, err)
		}
		target = wrapper
	}
	opts := krusty.MakeDefaultOptions()
	opts.LoadRestrictions = types.LoadRestrictionsNone // the file system itself is confined
	opts.PluginConfig = types.DisabledPluginConfig()   // built-in plugins only: no process, no container
	m, err := krusty.MakeKustomizer(opts).Run(f, target)
	if f.failed != nil {
		return nil, f.failed
	}
	if err != nil {
		return nil, errors.New(tidy(err))
	}
	for _, r := range m.Resources() {
		nodes = append(nodes, r.YNode())
	}
	return nodes, nil
}

// quoting are the places where kustomize and the YAML library put what they were given into an error: the
// literals of a secretGenerator, a patch, a whole object. It may be a secret, so that no more than $1 and $2
// remains of each. What kustomize quotes cannot be told from what it says after it, and most of it stands at
// the end, so that most of these go to the end.
var quoting = []*regexp.Regexp{
	regexp.MustCompile("(?s) with config: `.*`"),
	regexp.MustCompile("(?s)(cannot (?:decode|unmarshal) !!\\S+ )`.*`( (?:as|into) )"),
	regexp.MustCompile(`(?s)(literal source)s? .*(, expected key=value)`),
	regexp.MustCompile(`(?s)( has invalid utf8 bytes) : .*`),
	regexp.MustCompile(`(?s)(patch(?:es)? from )\[.*\]`),
	regexp.MustCompile(`(?s)(as both an SM and JSON patch: )\[.*\]`),
	regexp.MustCompile(`(?s)\s*:?\s*\[patch: .*`),
	regexp.MustCompile(`(?s)(patch and path can't be set at the same time)\n.*`),
	regexp.MustCompile(`(?s)(must specify one of patch and path) in\n.*`),
	regexp.MustCompile(`(?s)(must specify a target for patch) .*`),
	regexp.MustCompile(`(?s), (?:JsonOp|Patch)=.*`),
	regexp.MustCompile(`(?s)(\bdecoding) ["'\[{-].*`),
	regexp.MustCompile(`(?s)( is out of bounds) for value .*`),
	regexp.MustCompile(`(?s):? *(?:node contents|content summary):.*`),
	regexp.MustCompile(`(?s)(expected 1 resource, found \d+) in .*`),
	regexp.MustCompile(`(?s)(empty item) at .* in object .*`),
	regexp.MustCompile(`(?s)(invalid map key): value=.*`),
	regexp.MustCompile(`(?s)(received error .*) for the following resource:.*`),
	regexp.MustCompile(`(?s)(node \S+ is not a string): .*`),
}

// maxMessage bounds an error of kustomize, which may hold whole files.
const maxMessage = 2000

// tidy makes an error of kustomize, or of YAML, fit to be shown: paths as in the repository, nothing quoted.
func tidy(err error) string {
	s := err.Error()
	for _, q := range quoting {
		s = q.ReplaceAllString(s, "$1$2")
	}
	s = strings.ReplaceAll(s, mount+"/", "")
	s = strings.ReplaceAll(s, mount, ".")
	s = strings.TrimSpace(s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "..."
	}
	return s
}
