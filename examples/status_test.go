package examples

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStatusRecipes runs what docs/status.md does with the JSON: silence is no consent.
func TestStatusRecipes(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("needs jq")
	}
	script := recipe(t, "../docs/status.md", "Has every production cluster adopted a commit?")
	at := strings.Index(script, "# Has every")
	general, question := script[:at], script[at:]
	p := &pipeline{bin: t.TempDir()}
	says, _ := p.stand(t, "holdfast", `cat "$comments"`)
	const wanted = "c0ffee"
	now := time.Now()
	app := func(name, revision string, ready bool, objects int, change ...string) string {
		a := fmt.Sprintf(`"name": %q, "revision": %q, "placement": %q, "ready": %t, "objects": %d, "held": [], "errors": []`, name, revision, wanted, ready, objects)
		return "{" + strings.NewReplacer(change...).Replace(a) + "}"
	}
	report := func(cluster, commit string, age time.Duration, apps ...string) string {
		return fmt.Sprintf(`{"cluster": %q, "commit": %q, "time": %q, "apps": [%s]}`, cluster, commit, now.Add(-age).UTC().Format(time.RFC3339), strings.Join(apps, ", "))
	}
	good := app("web", wanted, true, 3)
	west, eu := report("us-west-2", wanted, time.Minute, good), report("eu-west-1", wanted, 2*time.Minute, good)
	staging := report("us-east-staging", "older", time.Hour, app("web", "older", false, 3))
	with := func(east ...string) string {
		return "[" + strings.Join(slices.Concat([]string{west, eu, staging}, east), ", ") + "]"
	}
	east := func(apps ...string) string { return with(report("us-east-1", wanted, time.Minute, apps...)) }
	for name, test := range map[string]struct {
		answer string
		want   bool
	}{
		"all have it":                        {east(good), true},
		"with a clock ahead":                 {with(report("us-east-1", wanted, -4*time.Minute, good)), true},
		"an app runs elsewhere":              {east(good, app("db", "", false, 0)), true},
		"an app has left, its rest is held":  {east(good, app("db", "", true, 0, `"held": []`, `"held": [{"gate": "Prune"}]`)), true},
		"no answer":                          {"", false},
		"no report":                          {"[]", false},
		"one never reported":                 {with(), false},
		"one never reported, another does":   {with(report("us-east-9", wanted, time.Minute, good)), false},
		"one is silent":                      {with(report("us-east-1", wanted, 7*time.Minute, good)), false},
		"one has seen an older commit":       {with(report("us-east-1", "older", time.Minute, good)), false},
		"one has nothing":                    {east(), false},
		"an app has an older commit":         {east(good, app("db", "older", true, 3)), false},
		"an app is not Ready":                {east(good, app("db", wanted, false, 3)), false},
		"an app has older placement":         {east(good, app("db", wanted, true, 3, `"placement": "c0ffee"`, `"placement": "older"`)), false},
		"an app never could be built":        {east(good, app("db", "", false, 0, `"errors": []`, `"errors": [{"message": "m"}]`)), false},
		"an app cannot be built any more":    {east(good, app("db", "older", false, 0)), false},
		"an app waits to begin":              {east(good, app("db", "", false, 0, `"held": []`, `"held": [{"gate": "DependsOn"}]`)), false},
		"an app is leaving":                  {east(good, app("db", "", false, 2)), false},
		"the only app there never was built": {east(app("db", "", false, 0, `"errors": []`, `"errors": [{"message": "m"}]`)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(says, []byte(test.answer), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := p.try(t, root, question, "FLEET=x", "COMMIT="+wanted)
			if out != fmt.Sprintln(test.want) || (err == nil) != test.want {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
	if err := os.WriteFile(says, []byte(east(good)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := p.try(t, t.TempDir(), "set +e\n"+question, "FLEET=x", "COMMIT="+wanted); err == nil || !strings.HasSuffix(out, "false\n") {
		t.Errorf("of no cluster: %v, %s", err, out)
	}
	if out, want := p.run(t, root, general, "FLEET=x"), "us-east-staging web\nus-east-staging\n"; out != want {
		t.Errorf("which are not Ready, and who is silent: %q, want %q", out, want)
	}
}
