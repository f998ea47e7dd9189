package main

import (
	"errors"
	"io"
	"testing"
)

func TestStolenTime(t *testing.T) {
	for line, want := range map[string]int{
		"cpu  1417406 117382 404427 1267621 5573 0 31542 22920 0 0": 22920,
		"cpu0 1 2 3 4 5 6 7 8 9 10":                                 0,
		"cpu 1 2 3":                                                 0,
		"cpu 1 2 3 4 5 6 7 x 9 10":                                  0,
		"":                                                          0,
	} {
		if got := stolenIn(line); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}

func TestAFailedMeasurementIsNotRepeated(t *testing.T) {
	made, failed := 0, errors.New("failed")
	if err := undisturbed(io.Discard, "x", func() error { made++; return failed }); !errors.Is(err, failed) || made != 1 {
		t.Errorf("%v after %d", err, made)
	}
}
