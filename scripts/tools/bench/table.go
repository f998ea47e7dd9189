package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// row compares one figure of ours with what it should be.
type row struct {
	what        string
	ours, truth float64
	// unit is "ms" (values in microseconds), or "" (counts).
	unit string
	// bound is the largest |ours − truth| that is good, in the unit of the values; negative: shown only.
	bound float64
}

// count is a row whose values must be equal.
func count(what string, ours, truth uint64) row {
	return row{what: what, ours: float64(ours), truth: float64(truth)}
}

// micros is a row of two durations in microseconds, with a bound in milliseconds.
func micros(what string, ours, truth, boundMS float64) row {
	return row{what: what, ours: ours, truth: truth, unit: "ms", bound: boundMS * 1000}
}

// within is a row of two durations in microseconds, with a bound relative to the truth.
func within(what string, ours, truth, share float64) row {
	return row{what: what, ours: ours, truth: truth, unit: "ms", bound: share * truth}
}

// ok is false for a value that is absent too.
func (r row) ok() bool {
	return r.bound < 0 || math.Abs(r.ours-r.truth) <= r.bound
}

func (r row) show(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	if r.unit == "ms" {
		return fmt.Sprintf("%.3f ms", v/1000)
	}
	return fmt.Sprintf("%.0f", v)
}

// judge prints the rows and returns errBroken if one is out of its bound.
func judge(w io.Writer, title, against string, rows []row) error {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tours\t%s\tdifference\tbound\tok\t\n", against)
	broken := 0
	for _, r := range rows {
		bound, ok := "-", "-"
		if r.bound >= 0 {
			bound, ok = r.show(r.bound), "yes"
		}
		if !r.ok() {
			ok = "NO"
			broken++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", r.what, r.show(r.ours), r.show(r.truth), r.show(r.ours-r.truth), bound, ok)
	}
	t.Flush()
	if broken > 0 {
		return fmt.Errorf("%s: %w (%d of %d)", title, errBroken, broken, len(rows))
	}
	return nil
}
