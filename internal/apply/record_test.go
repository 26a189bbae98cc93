package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"
)

// Every id that an API server accepts comes back from the inventory as it went in, under a key that a
// ConfigMap may have, and no two ids share a key.
func TestRecordKeys(t *testing.T) {
	role := schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}
	ids := map[string]object.ObjMetadata{
		"usual":          {GroupKind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "shop", Name: "web"},
		"core group":     {GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "shop", Name: "web"},
		"no namespace":   {GroupKind: role, Name: "viewer"},
		"colon":          {GroupKind: role, Name: "system:Team:view"},
		"two underlines": {GroupKind: role, Name: "system__Team:view"},
		"underline":      {GroupKind: role, Name: "team_view"},
		"space":          {GroupKind: role, Name: "team view"},
		"letters":        {GroupKind: role, Name: "équipe-π"},
		"ends with one":  {GroupKind: role, Name: "team_"},
		"long": {GroupKind: schema.GroupKind{Group: strings.Repeat("g", 60) + ".example.com", Kind: strings.Repeat("K", 60)},
			Namespace: strings.Repeat("n", 63), Name: strings.Repeat("x", 253)},
	}
	keys := map[string]string{}
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			want := Record{App: "shop", Hash: "h", Current: true}
			key, value, err := want.encode(id)
			if err != nil {
				t.Fatal(err)
			}
			if len(key) > maxKey || !keyCharacters.MatchString(key) {
				t.Errorf("%q is no key of a ConfigMap", key)
			}
			if other, ok := keys[key]; ok {
				t.Errorf("%q is also the key of %s", key, other)
			}
			keys[key] = name
			back, r, err := decodeRecord(key, value)
			if err != nil {
				t.Fatal(err)
			}
			if back != id || r.App != want.App || r.Hash != want.Hash || !r.Current || r.ID != nil {
				t.Errorf("came back as %+v %+v", back, r)
			}
		})
	}
	t.Run("from cli-utils", func(t *testing.T) {
		id, r, err := decodeRecord("shop_web_apps_Deployment", "")
		if err != nil || id.Name != "web" || r.Hash != "" {
			t.Errorf("%+v %+v %v", id, r, err)
		}
	})
}
