package vet

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/internal/moves"
)

// secret reports a Secret whose values can be read. One that SOPS has encrypted has its mark.
func (v *vetter) secret(d document) {
	if value(d.node, "sops") != nil {
		return
	}
	values, line := 0, 0
	for _, field := range []string{"data", "stringData"} {
		key, m := pair(d.node, field)
		if m == nil || m.Kind != yaml.MappingNode {
			continue
		}
		for i := 1; i < len(m.Content); i += 2 {
			if text(m.Content[i]) != "" {
				values++
			}
		}
		if line == 0 {
			line = key.Line + d.offset
		}
	}
	if values == 0 {
		return
	}
	v.clearText(position{d.file, line}, fmt.Sprintf("Secret %q holds %s in clear text", d.name, moves.Count(values, "value", "values")))
}

// generators reports generators of Secrets that have their values in the kustomization, or in a file beside it.
func (v *vetter) generators(d document) {
	for _, g := range entries(value(d.node, "secretGenerator")) {
		name := text(value(g, "name"))
		if literals := entries(value(g, "literals")); len(literals) > 0 {
			v.clearText(position{d.file, literals[0].Line}, fmt.Sprintf("Secret %q is generated of %s in clear text", name, moves.Count(len(literals), "value", "values")))
		}
		files := entries(value(g, "files"))
		files = append(files, entries(value(g, "envs"))...)
		if env := value(g, "env"); env != nil {
			files = append(files, env)
		}
		for _, f := range files {
			_, file, keyed := strings.Cut(text(f), "=")
			if !keyed {
				file = text(f)
			}
			b, err := v.tree.ReadFile(path.Join(path.Dir(d.file), file))
			if err != nil || encrypted(b) {
				continue // the build says that it is not there
			}
			v.clearText(position{d.file, f.Line}, fmt.Sprintf("Secret %q is generated of %s, which is in clear text", name, file))
		}
	}
}

// encrypted tells whether SOPS has encrypted a file, by the mark that it leaves in YAML, JSON and dotenv files.
func encrypted(b []byte) bool {
	for _, mark := range []string{"\nsops:", "\"sops\":", "\nsops_version=", "\nsops_mac="} {
		if bytes.Contains(b, []byte(mark)) {
			return true
		}
	}
	return len(bytes.TrimSpace(b)) == 0
}

func (v *vetter) clearText(at position, what string) {
	v.add(at, found{code: ClearTextSecret, severity: Warning, message: what +
		", for all who can read the repository or its history: let a secrets operator write it, and change what has been shown"})
}
