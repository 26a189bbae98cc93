package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups":          {nil, 0},
		"version 2":                  {map[string]string{"memory.max": "134217728\n"}, 134217728},
		"version 2 without a limit":  {map[string]string{"memory.max": "max\n"}, 0},
		"version 1":                  {map[string]string{"memory/memory.limit_in_bytes": "268435456\n"}, 268435456},
		"version 1 without a limit":  {map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"something else than a size": {map[string]string{"memory.max": "?"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cgroups := fstest.MapFS{}
			for path, content := range test.files {
				cgroups[path] = &fstest.MapFile{Data: []byte(content)}
			}
			if got := memoryLimit(cgroups); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
