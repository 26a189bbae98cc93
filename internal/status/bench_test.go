package status

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/types"
)

// noStore takes everything at once.
type noStore struct{}

func (noStore) list(context.Context) (map[string]stored, error) { return map[string]stored{}, nil }

func (noStore) apply(_ context.Context, _, object string, s *AppStatusStatus) (stored, error) {
	return stored{object: object, uid: "uid", status: *s}, nil
}

func (noStore) remove(context.Context, string, types.UID) error { return nil }

// BenchmarkWriterOneOfMany is one app that changes among many: what it costs hardly grows with them.
func BenchmarkWriterOneOfMany(b *testing.B) {
	for _, apps := range []int{10, 2500} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			w := newWriter(noStore{}, WriterOptions{Log: zerolog.Nop()})
			states := map[string]AppState{}
			for i := range apps {
				s := storefront()
				s.Name = fmt.Sprintf("app-%d", i)
				states[s.Name] = s
			}
			w.Update(states, nil)
			if err := w.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			s := states["app-0"]
			b.ReportAllocs()
			for b.Loop() {
				s.Objects++
				w.Update(map[string]AppState{s.Name: s}, nil)
				if err := w.write(b.Context(), true); err != nil {
					b.Fatal(err)
				}
				w.next(time.Now())
			}
		})
	}
}

// BenchmarkCompare is how a new state is compared with what was written.
func BenchmarkCompare(b *testing.B) {
	s := storefront()
	written := NewAppStatusStatus(&s, nil, noon)
	b.ReportAllocs()
	for b.Loop() {
		wanted := NewAppStatusStatus(&s, &written, noon)
		if Compare(&written, &wanted) != Same {
			b.Fatal("it differs from itself")
		}
	}
}
