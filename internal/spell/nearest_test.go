package spell_test

import (
	"testing"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

func TestNearest(t *testing.T) {
	clusters := []string{"eu-west-1", "us-east-1", "us-west-2"}
	for name, want := range map[string]string{
		"us-esat-1": "us-east-1", "us-eats-1": "us-east-1", "su-east-1": "us-east-1", "US-EAST-1": "us-east-1", "us-west-1": "us-west-2", "production": "", "": "",
	} {
		if got := spell.Nearest(name, clusters); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
