package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// rounds are measurements made several times in turns: in every round each once.
type rounds struct {
	titles []string
	rows   [][][]row // by measurement, then round
}

// measureRounds makes every measurement once in each round. A measurement gives its title and its rows.
func measureRounds(n int, each []func() (string, []row, error)) (*rounds, error) {
	r := &rounds{titles: make([]string, len(each)), rows: make([][][]row, len(each))}
	for range n {
		for i, measure := range each {
			title, rows, err := measure()
			if err != nil {
				return nil, err
			}
			r.titles[i] = title
			r.rows[i] = append(r.rows[i], rows)
		}
	}
	return r, nil
}

// judge prints a table for each measurement and returns errBroken where a bound is.
func (r *rounds) judge(b *bench, against string) error {
	var broken error
	for i, title := range r.titles {
		if n := len(r.rows[i]); n > 1 {
			title = fmt.Sprintf("%s; medians of %d rounds, lowest and highest difference in brackets", title, n)
		}
		broken = errors.Join(broken, judge(b.out, title, against, combine(r.rows[i])))
	}
	return broken
}

// combine makes one table of those of several rounds, row by row: the median by difference, with the extremes; where values must
// be equal, the first round in which they were not.
func combine(all [][]row) []row {
	out := slices.Clone(all[0])
	for i := range out {
		var same []row
		for _, rows := range all {
			same = append(same, rows[i])
		}
		if out[i].unit == "" && out[i].bound == 0 {
			if bad := slices.IndexFunc(same, func(r row) bool { return !r.ok() }); bad >= 0 {
				out[i] = same[bad]
			}
			continue
		}
		gap := func(r row) float64 { return r.ours - r.truth }
		slices.SortFunc(same, func(x, y row) int { return cmp.Compare(gap(x), gap(y)) }) // what is absent comes first
		out[i] = same[len(same)/2]
		if low, high := same[0], same[len(same)-1]; len(same) > 1 && !math.IsNaN(gap(low)) {
			out[i].what += fmt.Sprintf(" (%s to %s)", low.show(gap(low)), high.show(gap(high)))
		}
	}
	return out
}
