package drive

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Codes of answers, as google.rpc.Code counts.
const (
	CodeInvalid      = 3
	CodeExhausted    = 8
	CodePrecondition = 9
)

// asked takes a step down, or answers at once what was asked before or cannot be.
func (m *Machine) asked(q *pb.DriveRunRequest, v View, now int64) []Command {
	id := q.GetRequestId()
	if id == "" || len(id) > MaxRequestID {
		return []Command{Answer{m.wrong(id, scenario.Problem{Path: "request_id", Message: "it has 1 to 128 characters"})}}
	}
	digest := sum(q)
	if s := m.steps[id]; s != nil {
		switch {
		case s.sum != digest && s.sum != [sha256.Size]byte{}:
			return []Command{Answer{m.wrong(id, scenario.Problem{Path: "request_id", Message: "another step was sent with it", Hint: "draw a new one for each step"})}}
		case s.answer != nil:
			return []Command{Answer{s.answer}}
		}
		return nil // its answer comes
	}
	switch {
	case m.ended != "":
		return []Command{Answer{failed(id, CodePrecondition, m.ended)}}
	case len(m.steps) >= MaxSteps:
		return []Command{Answer{failed(id, CodeExhausted, fmt.Sprintf("the run has had %d steps, the limit", MaxSteps))}}
	case len(m.queue) >= MaxQueued:
		return []Command{Answer{failed(id, CodeExhausted, fmt.Sprintf("%d steps wait for those before them, the limit: await their answers", MaxQueued))}}
	}
	m.steps[id] = &step{sum: digest}
	m.queue = append(m.queue, q)
	return m.take(v, now)
}

// take takes steps until one of them has to wait for the run.
func (m *Machine) take(v View, now int64) []Command {
	var commands []Command
	for m.begun && m.current == nil && len(m.queue) > 0 {
		q := m.queue[0]
		m.queue = m.queue[1:]
		commands = append(commands, m.takeOne(q, v, now)...)
	}
	return commands
}

func (m *Machine) takeOne(q *pb.DriveRunRequest, v View, now int64) []Command {
	id := q.GetRequestId()
	switch q.WhichStep() {
	case pb.DriveRunRequest_Set_case:
		return m.set(q, v)
	case pb.DriveRunRequest_Stop_case:
		return m.close(q, v)
	case pb.DriveRunRequest_Wait_case:
		return m.wait(q, v, now)
	case pb.DriveRunRequest_Mark_case:
		text := q.GetMark().GetText()
		if text == "" || len(text) > MaxMark {
			return m.invalid(id, scenario.Problem{Path: "mark.text", Message: fmt.Sprintf("it has 1 to %d bytes", MaxMark)})
		}
		m.current = q
		return []Command{Mark{Request: id, Text: text}}
	case pb.DriveRunRequest_Open_case, pb.DriveRunRequest_Resume_case:
		return m.invalid(id, scenario.Problem{Path: "step", Message: "open and resume stand at the beginning of a stream alone"})
	default:
		return m.invalid(id, scenario.Problem{Path: "step", Message: "it is missing", Hint: "give one of set, wait, mark and stop"})
	}
}

// answer keeps an answer and sends it.
func (m *Machine) answer(a *pb.DriveAnswer) []Command {
	a.SetRunId(m.config.RunID)
	if s := m.steps[a.GetRequestId()]; s != nil {
		s.answer = a
	}
	return []Command{Answer{a}}
}

func (m *Machine) refuse(id, why string) []Command {
	return m.answer(failed(id, CodePrecondition, why))
}

func (m *Machine) invalid(id string, problems ...scenario.Problem) []Command {
	return m.answer(m.wrong(id, problems...))
}

func failed(id string, code uint32, why string) *pb.DriveAnswer {
	return pb.DriveAnswer_builder{RequestId: id, Code: code, Message: why}.Build()
}

// wrong is the answer to a step with fields that are wrong.
func (m *Machine) wrong(id string, problems ...scenario.Problem) *pb.DriveAnswer {
	b := pb.DriveAnswer_builder{RequestId: id, RunId: m.config.RunID, Code: CodeInvalid}
	words := make([]string, 0, len(problems))
	for _, p := range problems {
		b.Problems = append(b.Problems, pb.Problem_builder{Path: p.Path, Message: p.Message, Hint: p.Hint}.Build())
		words = append(words, p.String())
	}
	b.Message = strings.Join(words, "\n")
	return b.Build()
}

// adjusted answers the step whose change is on record, or was refused.
func (m *Machine) adjusted(e Adjusted, v View, now int64) []Command {
	q := m.current
	if q == nil || e.Request != q.GetRequestId() {
		return nil
	}
	m.current = nil
	if e.Refusal != "" {
		if q.HasStop() {
			m.closed = false
		}
		return append(m.refuse(e.Request, e.Refusal), m.take(v, now)...)
	}
	m.accept(e.Change)
	commands := m.answer(changed(e.Request, e.Change))
	return append(commands, m.take(v, now)...)
}

func changed(request string, ch *pb.Change) *pb.DriveAnswer {
	b := pb.DriveAnswer_builder{RequestId: request, Epoch: ch.GetEpoch(), AtNs: ch.GetAtNs()}
	if p := ch.GetAppended(); len(p) > 0 {
		b.Phase = p[0].GetName()
	}
	return b.Build()
}

// accept takes a change of a step on.
func (m *Machine) accept(ch *pb.Change) {
	m.lastNS = max(m.lastNS, ch.GetAtNs())
	if w := ch.GetWorkloadWeights(); len(w) > 0 {
		m.weights = w
	}
	for _, p := range ch.GetAppended() {
		m.last = p
		m.appended++
	}
	m.closed = m.closed || ch.GetClosed()
}

func (m *Machine) marked(e Marked, v View, now int64) []Command {
	if m.current == nil || e.Request != m.current.GetRequestId() {
		return nil
	}
	m.current = nil
	commands := m.answer(pb.DriveAnswer_builder{RequestId: e.Request, AtNs: e.AtNS}.Build())
	return append(commands, m.take(v, now)...)
}

// Restore tells the machine of a run that was open when its coordinator ended what the journal says: the steps that are on record are
// answered as they were. Nobody drives it; what becomes of it is for Detached to say.
func (m *Machine) Restore(events []*pb.RunEvent) {
	for _, e := range events {
		switch {
		case e.GetKind() == pb.RunEventKind_RUN_EVENT_KIND_STARTED:
			m.begun = true
		case e.GetKind() == pb.RunEventKind_RUN_EVENT_KIND_MARKED && e.GetRequestId() != "":
			a := pb.DriveAnswer_builder{RequestId: e.GetRequestId(), RunId: m.config.RunID, AtNs: e.GetAtUs() * 1000}.Build()
			m.steps[e.GetRequestId()] = &step{answer: a}
		case e.HasChange():
			m.accept(e.GetChange())
			for _, id := range e.GetChange().GetRequestIds() {
				a := changed(id, e.GetChange())
				a.SetRunId(m.config.RunID)
				m.steps[id] = &step{answer: a}
			}
		}
	}
}
