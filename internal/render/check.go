package render

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
)

// maxFolders bounds the kustomizations of one app.
const maxFolders = 10_000

// shape is what the check of a kustomization tree finds out.
type shape struct {
	// plain is set if the tree only lists resources, each folder once: no kustomize is needed.
	plain bool
	// schema is set if the tree changes the process-wide OpenAPI schema.
	schema bool
	// list has the resource files of a plain tree in order.
	list []string
	// warnings name fields that kustomize will drop.
	warnings []string
}

// check walks the kustomizations that a build of dir comes to. kustomize itself would clone, fetch or
// run what some entries name, and has no switch against all of it; so nothing reaches it unchecked.
func (f *files) check(dir string) (shape, error) {
	c := checker{files: f, seen: map[string]bool{}, shape: shape{plain: true}}
	if err := c.root(dir); err != nil {
		return shape{}, err
	}
	return c.shape, nil
}

type checker struct {
	files *files
	seen  map[string]bool
	shape shape
	// all has what is only loaded looked up too, so that all that a build may look at is recorded.
	all bool
}

// root checks the folder that is built. Behind a link, entries are relative to where it really is, as they
// are for kustomize.
func (c *checker) root(dir string) error {
	e, err := c.files.stat(dir)
	if err == nil && e.IsDir() {
		dir = e.Path
	}
	return c.folder(dir, "")
}

// folder checks one kustomization and those below it. from names the entry that leads to it.
func (c *checker) folder(dir, from string) error {
	if c.seen[dir] {
		c.shape.plain = false // twice, or a cycle: kustomize has the words for it
		return nil
	}
	if len(c.seen) >= maxFolders {
		return fmt.Errorf("%s: more than %d kustomizations", dir, maxFolders)
	}
	c.seen[dir] = true
	file, k, err := c.load(dir)
	if err != nil {
		if from != "" {
			return fmt.Errorf("%s: %w", from, err)
		}
		return err
	}
	if len(k.HelmCharts) > 0 || k.HelmGlobals != nil {
		return fmt.Errorf("%s: helmCharts are not supported: nothing is run or fetched while rendering; "+
			"commit the output of `helm template`", file)
	}
	if len(k.OpenAPI) > 0 || len(k.Crds) > 0 {
		c.shape.schema = true
	}
	if !onlyResources(k) {
		c.shape.plain = false
	}
	for _, e := range entries(k) {
		if err := c.entry(dir, file, e); err != nil {
			return err
		}
	}
	return nil
}

// load reads the one kustomization of a folder.
func (c *checker) load(dir string) (file string, k *types.Kustomization, err error) {
	e, err := c.files.stat(dir)
	if err != nil {
		return "", nil, err
	}
	if !e.IsDir() {
		return "", nil, fmt.Errorf("%s is not a folder", dir)
	}
	var content []byte
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		p := path.Join(dir, name)
		b, err := c.files.readFile(p)
		if c.files.failed != nil {
			return "", nil, c.files.failed
		}
		if err != nil {
			continue // absent, or a folder of that name
		}
		if file != "" {
			return "", nil, fmt.Errorf("%s: both %s and %s", dir, path.Base(file), name)
		}
		file, content = p, b
	}
	if file == "" {
		return "", nil, fmt.Errorf("%s has no kustomization.yaml", dir)
	}
	k = &types.Kustomization{}
	if err := k.Unmarshal(content); err != nil {
		return "", nil, fmt.Errorf("%s: %s", file, tidy(err))
	}
	for _, w := range *k.CheckDeprecatedFields() {
		w, _, _ = strings.Cut(strings.TrimPrefix(w, "# Warning: "), " Run '")
		c.shape.warnings = append(c.shape.warnings, file+": "+w)
	}
	k.FixKustomization()
	return file, k, nil
}

// onlyResources tells whether k has nothing but a list of resources that changes the outcome.
func onlyResources(k *types.Kustomization) bool {
	rest := *k
	rest.Resources, rest.SortOptions, rest.MetaData = nil, nil, nil
	rest.TypeMeta = types.TypeMeta{}
	return reflect.DeepEqual(rest, types.Kustomization{}) &&
		k.Kind == types.KustomizationKind && k.APIVersion == types.KustomizationVersion &&
		k.Resources != nil
}

// entry is one place of a kustomization that names something to load.
type entry struct {
	field string
	value string
	use   use
}

type use int

const (
	loaded    use = iota // a file that is read
	resource             // a file, or the folder of another kustomization
	component            // the folder of another kustomization
	plugin               // configuration of a generator or transformer: inline, a file or a folder
)

// entries lists all that k loads.
func entries(k *types.Kustomization) (es []entry) {
	add := func(field string, u use, values ...string) {
		for _, v := range values {
			es = append(es, entry{field: field, value: v, use: u})
		}
	}
	add("resources", resource, k.Resources...)
	add("components", component, k.Components...)
	add("generators", plugin, k.Generators...)
	add("transformers", plugin, k.Transformers...)
	add("validators", plugin, k.Validators...)
	add("crds", loaded, k.Crds...)
	add("configurations", loaded, k.Configurations...)
	add("openapi.path", loaded, k.OpenAPI["path"])
	for _, p := range k.Patches {
		add("patches", loaded, p.Path)
	}
	for _, p := range k.PatchesJson6902 { //nolint:staticcheck // deprecated, and still built
		add("patchesJson6902", loaded, p.Path)
	}
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // deprecated, and still built
		add("patchesStrategicMerge", loaded, string(p))
	}
	for _, r := range k.Replacements {
		add("replacements", loaded, r.Path)
	}
	for i := range k.ConfigMapGenerator {
		add("configMapGenerator", loaded, sources(&k.ConfigMapGenerator[i].KvPairSources)...)
	}
	for i := range k.SecretGenerator {
		add("secretGenerator", loaded, sources(&k.SecretGenerator[i].KvPairSources)...)
	}
	return es
}

// sources lists the files of a generator. One may have the form key=path.
func sources(kv *types.KvPairSources) []string {
	all := slices.Concat(kv.FileSources, kv.EnvSources, []string{kv.EnvSource})
	for _, s := range all {
		if _, p, ok := strings.Cut(s, "="); ok {
			all = append(all, p)
		}
	}
	return all
}

func (c *checker) entry(dir, file string, e entry) error {
	if e.value == "" {
		return nil // an empty entry: kustomize says so where it matters
	}
	if remote(e.value) {
		return fmt.Errorf("%s: %s: %q is remote: an app is built from the fleet repository alone; "+
			"commit a copy", file, e.field, e.value)
	}
	if e.use == loaded {
		c.look(dir, e.value)
		return nil
	}
	if e.use == plugin && strings.Contains(e.value, "\n") {
		return c.pluginConfig(dir, file, e.field, []byte(e.value))
	}
	p := path.Join(dir, e.value)
	from := fmt.Sprintf("%s: %s: %q", file, e.field, e.value)
	if path.IsAbs(e.value) || p == ".." || strings.HasPrefix(p, "../") {
		return fmt.Errorf("%s leaves the fleet repository", from)
	}
	found, err := c.files.stat(p)
	if err != nil {
		if c.files.failed != nil {
			return fmt.Errorf("%s: %w", from, c.files.failed)
		}
		return fmt.Errorf("%s does not exist", from)
	}
	switch {
	case e.use == component && !found.IsDir():
		return fmt.Errorf("%s is not a folder", from)
	case e.use == plugin:
		return c.plugins(dir, found.Path, p, from, found.IsDir())
	case found.IsDir():
		return c.folder(found.Path, from)
	default:
		c.shape.list = append(c.shape.list, p)
		return nil
	}
}

// look looks up what a kustomization in dir has loaded, where that is asked for. What is not there may be
// inline, or is for kustomize to complain of.
func (c *checker) look(dir, value string) {
	if c.all {
		_, _ = c.files.stat(path.Join(dir, value))
	}
}

// plugins checks the configuration of generators and transformers, whose own fields name files too, relative
// to dir, the folder of the kustomization. A folder of them must only list files: what a patch made of them
// could not be seen here.
func (c *checker) plugins(dir, found, p, from string, isDir bool) error {
	list := []string{p}
	if isDir {
		sub := checker{files: c.files, seen: map[string]bool{}, shape: shape{plain: true}, all: c.all}
		if err := sub.folder(found, from); err != nil {
			return err
		}
		if !sub.shape.plain {
			return fmt.Errorf("%s: a kustomization of generators or transformers may only list resources", from)
		}
		list = sub.shape.list
	}
	for _, p := range list {
		b, err := c.files.readFile(p)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if err := c.pluginConfig(dir, p, "", b); err != nil {
			return err
		}
	}
	return nil
}

// pluginConfig refuses remote files in the configuration of built-in plugins.
func (c *checker) pluginConfig(dir, file, field string, b []byte) error {
	if err := checkAliases(b); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var doc any
		if err := d.Decode(&doc); err != nil {
			return nil // the end, or not YAML: kustomize says so
		}
		for s := range loads(doc, false) {
			for part := range strings.SplitSeq(s, "=") {
				if remote(part) || remote(s) {
					return fmt.Errorf("%s: %q is remote: an app is built from the fleet repository alone; commit a copy",
						strings.TrimSuffix(file+": "+field, ": "), s)
				}
				c.look(dir, part)
			}
			c.look(dir, s)
		}
		if kindOf(doc) == "HelmChartInflationGenerator" {
			return fmt.Errorf("%s: Helm charts are not supported: commit the output of `helm template`", file)
		}
	}
}

func kindOf(doc any) string {
	m, ok := doc.(map[string]any)
	if !ok {
		return ""
	}
	s, _ := m["kind"].(string)
	return s
}

// loads yields the strings under the keys by which built-in plugins load files. A generator's may have the
// form key=path.
func loads(v any, loading bool) iter.Seq[string] {
	return func(yield func(string) bool) { eachLoad(v, loading, yield) }
}

func eachLoad(v any, loading bool, yield func(string) bool) bool {
	switch v := v.(type) {
	case string:
		return !loading || yield(v)
	case []any:
		for _, item := range v {
			if !eachLoad(item, loading, yield) {
				return false
			}
		}
	case map[string]any:
		for key, item := range v {
			if !eachLoad(item, loadingKeys[strings.ToLower(key)], yield) {
				return false
			}
		}
	case map[any]any:
		for key, item := range v {
			name, _ := key.(string)
			if !eachLoad(item, loadingKeys[strings.ToLower(name)], yield) {
				return false
			}
		}
	}
	return true
}

// loadingKeys are the fields by which the built-in generators and transformers load files.
var loadingKeys = map[string]bool{"path": true, "paths": true, "files": true, "env": true, "envs": true}

// remoteForms are what kustomize takes for a Git repository: a scheme, user@ before a host, GitHub.
var remoteForms = regexp.MustCompile(`(?i)^(git::)|^(ssh|https?|file)://|^github\.com[/:]|^[a-z][a-z0-9-]*@[^/:]*[/:]`)

// remote tells whether kustomize would take an entry for something outside of the file system.
func remote(s string) bool {
	if remoteForms.MatchString(s) {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

func isKustomization(base string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), base)
}

var errNothing = errors.New("renders no objects; if that is meant, set spec.allowEmpty")
