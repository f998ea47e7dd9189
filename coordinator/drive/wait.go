package drive

import (
	"errors"
	"fmt"
	"time"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const second = int64(time.Second)

// waiting is a wait that has begun.
type waiting struct {
	request   string
	condition *scenario.Condition
	from      uint64 // the first second that counts
	until     uint64 // the first that does not
	need      uint64 // seconds in which it must hold
	held      uint64
	last      uint64 // second looked at last
	deadline  int64  // when it is over though no second has come
}

// wait begins to wait. It looks at whole seconds that begin when the last change is in force.
func (m *Machine) wait(q *pb.DriveRunRequest, v View, now int64) []Command {
	id, w := q.GetRequestId(), q.GetWait()
	limit := w.GetLimit().AsDuration()
	condition, err := scenario.CheckCondition(m.config.Scenario, w.GetUntil())
	var problems []scenario.Problem
	if err != nil {
		problems = append(problems, scenario.AsProblems(err, "wait.until")...)
		var e *scenario.ExprError
		if errors.As(err, &e) {
			problems[0].Message = fmt.Sprintf("at byte %d: %s", e.Pos, e.Message)
		}
	}
	switch {
	case w.GetLimit().CheckValid() != nil || limit <= 0 || limit > MaxLimit:
		problems = append(problems, scenario.Problem{Path: "wait.limit", Message: "it is above 0 and at most 24h"})
	case err == nil && limit < condition.For:
		problems = append(problems, scenario.Problem{Path: "wait.limit", Message: fmt.Sprintf("it is shorter than the %v for which the condition must hold", condition.For)})
	}
	if len(problems) > 0 {
		return m.invalid(id, problems...)
	}
	if len(m.waits) >= MaxWaits {
		return m.answer(failed(id, CodeExhausted, fmt.Sprintf("%d waits are not over, the limit", MaxWaits)))
	}
	begins := max(v.RunNS, m.lastNS, 0)
	from := uint64((begins + second - 1) / second)
	m.waits = append(m.waits, &waiting{
		request: id, condition: condition, from: from, until: from + seconds(limit), need: max(1, seconds(condition.For)),
		deadline: now + max(0, begins-v.RunNS) + int64(limit+late) + second,
	})
	return nil
}

// seconds is a length in whole seconds, rounded up.
func seconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }

// second holds the waits against a second.
func (m *Machine) second(e Second) []Command {
	var commands []Command
	open := m.waits[:0:0]
	for _, w := range m.waits {
		w.last = e.Number
		switch {
		case w.met(e):
			commands = append(commands, m.over(w, true)...)
		case e.Number+1 >= w.until:
			commands = append(commands, m.over(w, false)...)
		default:
			open = append(open, w)
		}
	}
	m.waits = open
	return commands
}

// met says that the condition has held for its time with this second. A second without a value neither holds nor breaks.
func (w *waiting) met(e Second) bool {
	if w.condition.Count == "" && (e.Number < w.from || e.Number >= w.until) {
		return false
	}
	holds, counts := e.Look(w.condition)
	switch {
	case !counts:
		return false
	case !holds:
		w.held = 0
		return false
	}
	w.held++
	return w.held >= w.need
}

func (m *Machine) over(w *waiting, met bool) []Command {
	return m.answer(pb.DriveAnswer_builder{RequestId: w.request, Met: met, Second: w.last}.Build())
}

// overdue ends the waits whose limit has long passed while no second came.
func (m *Machine) overdue(now int64) []Command {
	var commands []Command
	open := m.waits[:0:0]
	for _, w := range m.waits {
		if now >= w.deadline {
			commands = append(commands, m.over(w, false)...)
			continue
		}
		open = append(open, w)
	}
	m.waits = open
	return commands
}
