package schedule

import "testing"

func TestConstantRateHitsRoundTimes(t *testing.T) {
	s, err := Compile(scenario(1, nil, open("a", rate(50), 60)))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Phases[0]
	if p.Arrivals != 3000 {
		t.Fatalf("arrivals = %d, want 3000", p.Arrivals)
	}
	w := p.Walk(0)
	for i, a := range take(&w, 5000) {
		if a.n != uint64(i) || a.due != int64(i)*20_000_000 {
			t.Fatalf("arrival %d = %+v", i, a)
		}
	}
}
