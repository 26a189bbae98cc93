package config

import (
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// suggest proposes the flag that was probably meant, as " (did you mean ...)", or is empty.
func suggest(name string, flags *pflag.FlagSet) string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !skipped(f.Name) && !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return spell.DidYouMean(name, names)
}
