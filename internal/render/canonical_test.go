package render

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// TestCanonicalIsJSON: an object's bytes, and so its hash, are those of encoding/json.
func TestCanonicalIsJSON(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z\n\t\r"\\<>&\x00\x08\x0c\x1f\x7f\x{2028}\x{2029}é]{0,8}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		leaves := []*rapid.Generator[any]{
			rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Uint64().AsAny(), rapid.Float64().AsAny(), text.AsAny(),
			rapid.Just[any](map[string]any(nil)), rapid.Just[any]([]any(nil)),
		}
		if depth == 0 {
			return rapid.OneOf(leaves...)
		}
		return rapid.OneOf(append(leaves,
			rapid.SliceOfN(value(depth-1), 0, 3).AsAny(), rapid.MapOfN(text, value(depth-1), 0, 4).AsAny())...)
	}
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.MapOfN(text, value(3), 0, 4).Draw(t, "object")
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(content); err != nil {
			t.Fatal(err)
		}
		got, err := canonical(content)
		if err != nil || string(got)+"\n" != want.String() {
			t.Errorf("%s, want %s (%v)", got, want.String(), err)
		}
	})
}
