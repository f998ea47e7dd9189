package workload

import (
	"errors"
	"fmt"
)

// problems gathers what is wrong, so that all of it is told at once.
type problems struct {
	list []error
	more int
}

// add notes a problem: where it is and what to do.
func (p *problems) add(format string, args ...any) {
	if len(p.list) == MaxProblems {
		p.more++
		return
	}
	p.list = append(p.list, fmt.Errorf(format, args...))
}

// err joins the problems; nil: there are none.
func (p *problems) err() error {
	if p.more == 0 {
		return errors.Join(p.list...)
	}
	return errors.Join(append(p.list, fmt.Errorf("and %d more problems", p.more))...)
}
