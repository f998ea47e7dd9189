package main

import (
	"io"
	"testing"
)

// Both versions of a series stand beside one truth, and nothing is judged: not even what is absent.
func TestStampRows(t *testing.T) {
	p := func(v float64) *float64 { return &v }
	s := &summary{Series: []series{
		{Name: "ttft_service", P50: p(201), P99: p(260)}, {Name: "ttft_wire", P50: p(200)},
		{Name: "ttft_service", Phase: "hold", P50: p(9), P99: p(9)}, {Name: "read_lag", P50: p(4)},
	}}
	rows := stampRows(s, &truth{TTFT: distribution{P50: 199, P99: 250}})
	want := map[string]float64{"ttft_service p50": 2, "ttft_service p99": 10, "ttft_wire p50": 1, "read_lag p50": 4}
	for _, r := range rows {
		if difference, ok := want[r.what]; ok && r.ours-r.truth != difference {
			t.Errorf("%s differs by %v, want %v", r.what, r.ours-r.truth, difference)
		}
		delete(want, r.what)
	}
	if len(want) > 0 {
		t.Errorf("rows are missing: %v", want)
	}
	if err := judge(io.Discard, "stamps", "truth", rows); err != nil {
		t.Error(err)
	}
}
