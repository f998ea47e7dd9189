package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestCombine(t *testing.T) {
	round := func(seen uint64, p99 float64) []row { return []row{count("seen", seen, 7), micros("p99", p99, 0, 1)} }
	got := combine([][]row{round(7, 900), round(6, 300), round(7, 2000)})
	if got[0].ours != 6 || got[0].ok() {
		t.Errorf("one round that missed one is good: %+v", got[0])
	}
	if got[1].ours != 900 || !got[1].ok() || !strings.Contains(got[1].what, "(0.300 ms to 2.000 ms)") {
		t.Errorf("the median is %+v", got[1])
	}
	if one := combine([][]row{round(7, 900)}); one[1].what != "p99" || !one[0].ok() {
		t.Errorf("one round: %+v", one)
	}
}

func TestMeasureRounds(t *testing.T) {
	var order []string
	measure := func(name string, p99 float64) func() (string, []row, error) {
		return func() (string, []row, error) {
			order = append(order, name)
			return name, []row{micros("p99", p99, 0, 1)}, nil
		}
	}
	r, err := measureRounds(2, []func() (string, []row, error){measure("a", 500), measure("b", 1500)})
	if err != nil || strings.Join(order, "") != "abab" {
		t.Fatalf("measured %v, %v", order, err)
	}
	if err := r.judge(&bench{out: io.Discard}, "truth"); !errors.Is(err, errBroken) || strings.Contains(err.Error(), "a;") || !strings.Contains(err.Error(), "b;") {
		t.Errorf("judged %v", err)
	}
}
