package calibrate

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// tried runs a search on a machine that sustains limit.
func tried(s *Search, limit uint64) []uint64 {
	var all []uint64
	for len(all) < 200 {
		v, ok := s.Next()
		if !ok {
			return all
		}
		all = append(all, v)
		s.Report(v <= limit)
	}
	return all
}

func TestSearch(t *testing.T) {
	tests := map[string]struct {
		search  Search
		limit   uint64
		tried   []uint64
		best    uint64
		reached bool
	}{
		"climb, twice, halve":     {Search{Start: 1000, Least: 10, Most: 100_000, Halvings: 3}, 5100, []uint64{1000, 2000, 4000, 8000, 8000, 6000, 5000, 5500}, 5000, true},
		"the bound is not met":    {Search{Start: 1000, Least: 10, Most: 3000, Halvings: 3}, 9000, []uint64{1000, 2000, 3000}, 3000, false},
		"down first":              {Search{Start: 1000, Least: 100, Most: 9000, Halvings: 1}, 300, []uint64{1000, 1000, 500, 250, 375}, 250, true},
		"nothing holds":           {Search{Start: 1000, Least: 300, Most: 9000, Halvings: 1}, 0, []uint64{1000, 1000, 500, 300}, 0, true},
		"without halving":         {Search{Start: 4, Least: 1, Most: 64}, 9, []uint64{4, 8, 16, 16}, 8, true},
		"no room between the two": {Search{Start: 1, Least: 1, Most: 64, Halvings: 9}, 1, []uint64{1, 2, 2}, 1, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tried(&test.search, test.limit); !slices.Equal(got, test.tried) {
				t.Errorf("it tried %v, want %v", got, test.tried)
			}
			if best, reached := test.search.Best(); best != test.best || reached != test.reached {
				t.Errorf("the best is %d, reached %v; want %d, %v", best, reached, test.best, test.reached)
			}
		})
	}
}

// One failure by chance does not end the climb.
func TestSearchTriesTheEndOfTheClimbTwice(t *testing.T) {
	s := Search{Start: 10, Least: 1, Most: 1000}
	s.Next()
	s.Report(false)
	if v, _ := s.Next(); v != 10 {
		t.Fatalf("then %d, want 10 again", v)
	}
	s.Report(true)
	if v, ok := s.Next(); v != 20 || !ok {
		t.Errorf("then %d, want 20", v)
	}
}

// A search cut short knows only that its best is no limit.
func TestSearchCutShort(t *testing.T) {
	s := Search{Start: 10, Least: 1, Most: 1000}
	s.Next()
	s.Report(true)
	if best, reached := s.Best(); best != 10 || reached {
		t.Errorf("the best is %d, reached %v", best, reached)
	}
}

// On any machine the search ends, stays within its bounds and finds the limit as exactly as it may.
func TestSearchFindsTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.Uint64Range(1, 1000).Draw(t, "least")
		start := least * rapid.Uint64Range(1, 50).Draw(t, "start")
		most := start * rapid.Uint64Range(1, 5000).Draw(t, "most")
		limit := rapid.Uint64Range(0, 2*most).Draw(t, "limit")
		halvings := rapid.IntRange(0, 30).Draw(t, "halvings")
		s := Search{Start: start, Least: least, Most: most, Halvings: halvings}
		all := tried(&s, limit)
		best, reached := s.Best()
		switch {
		case len(all) > 70 || slices.Min(all) < least || slices.Max(all) > most:
			t.Fatalf("it tried %v", all)
		case best > limit, reached != (limit < most), best == 0 && limit >= least:
			t.Fatalf("the best is %d of %d, reached %v", best, limit, reached)
		case !reached && best != most:
			t.Fatalf("it stopped at %d below %d", best, most)
		case reached && best > 0 && limit-best > max(1, best>>halvings):
			t.Fatalf("the best is %d of %d after %d halvings", best, limit, halvings)
		}
	})
}
