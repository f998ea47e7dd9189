// Package schedule turns the load of a scenario into numbered arrivals with due times, and says which
// agent plays which. Everything follows from the scenario alone (its shapes and its seed), so that every
// agent computes the same schedule, down to the nanosecond and on every processor.
//
// Arrival j of an open phase is due at Λ⁻¹(x_j), where Λ(t) is the integral of the rate and x_j is j for
// constant spacing and the sum of j+1 random gaps of mean 1 for Poisson and gamma spacing. A due time is rounded
// down to whole nanoseconds, and arrivals belong to the phase while they are due before its end.
//
// The package is pure: it reads no clock and does no I/O.
package schedule

import (
	"errors"
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Schedule is the load of a run.
type Schedule struct {
	// Phases in the order of the scenario.
	Phases []*Phase
	// End is when the last phase's load is over, in ns since the run's start. Phases of closed load that sessions
	// alone end count as 0 long.
	End int64

	scenario *pb.Scenario
}

// Compile makes the schedule of a scenario that has been validated and whose defaults are filled in. The error joins all that
// Check finds. Phases with random spacing are counted here, arrival by arrival.
func Compile(s *pb.Scenario) (*Schedule, error) {
	c := checker{}
	outlines := c.outlines(s)
	errs := make([]error, 0, len(c.problems))
	for _, p := range c.problems {
		errs = append(errs, errors.New(p.String()))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	b := builder{
		scenario: s, schedule: Schedule{scenario: s},
		weights: WorkloadWeights(s), bases: make([]uint64, len(s.GetWorkloads())),
	}
	for i, o := range outlines {
		if err := b.add(i, s.GetLoad()[i], o); err != nil {
			return nil, fmt.Errorf("load[%d]: %w", i, err)
		}
	}
	return &b.schedule, nil
}
