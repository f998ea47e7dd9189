package judge

import (
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// outcome is everything that is decided about a run.
type outcome struct {
	state   pb.SummaryState
	verdict pb.Verdict
	reasons []string
	exit    int
	invalid []string
	slo     []*pb.ObjectiveResult
}

// verdict decides. Reasons stand in the order in which the exit status is looked for.
func (e evidence) verdict() outcome {
	complete, missing := e.run.Reconcile()
	o := outcome{state: e.state(complete), invalid: e.invalid()}
	f := Facts{
		Stopped: e.stopped(), Invalid: len(o.invalid) > 0, Missing: !complete,
		Objectives: len(e.run.Scenario().GetSlo()) > 0,
		// Half a run cannot pass, whatever it showed until then.
		UndecidedMissing: e.run.BrokenOff(),
	}
	why := e.unforeseen()
	f.Unforeseen = len(why) > 0
	o.reasons = append(append(why, e.ending()...), o.invalid...)
	if len(why) == 0 || e.begun() {
		var undecided []string
		for _, objective := range e.run.Scenario().GetSlo() {
			found := e.judge(objective)
			o.slo = append(o.slo, found.message(objective))
			f.Failed = f.Failed || found.verdict == pb.Verdict_VERDICT_FAIL
			f.UndecidedMissing = f.UndecidedMissing || found.cause == byMissing
			f.UndecidedSample = f.UndecidedSample || found.cause == bySample
			if found.verdict == pb.Verdict_VERDICT_FAIL {
				o.reasons = append(o.reasons, found.reason)
			} else if found.reason != "" {
				undecided = append(undecided, found.reason)
			}
		}
		o.reasons = append(append(o.reasons, undecided...), missing...)
	}
	failed := f.Failed
	if _, fired := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_ABORTED); fired {
		f.Failed = true
	}
	o.exit = ExitStatus(f)
	o.verdict = verdictOf(o.exit, failed)
	return o
}

// verdictOf is the verdict that goes with an exit status: one of three, whatever happened.
func verdictOf(exit int, failed bool) pb.Verdict {
	switch {
	case exit == ExitPass:
		return pb.Verdict_VERDICT_PASS
	case exit == ExitFail, exit == ExitStopped && failed:
		return pb.Verdict_VERDICT_FAIL
	default:
		return pb.Verdict_VERDICT_INCONCLUSIVE
	}
}

func (e evidence) begun() bool {
	_, ok := e.run.Started()
	return ok
}

func (e evidence) state(complete bool) pb.SummaryState {
	ended, ok := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED)
	switch {
	case !e.begun(), e.run.Stopped(), ok && ended.State == pb.RunState_RUN_STATE_ABORTED:
		return pb.SummaryState_SUMMARY_STATE_ABORTED
	case !complete, ended.State == pb.RunState_RUN_STATE_PARTIAL:
		return pb.SummaryState_SUMMARY_STATE_PARTIAL
	default:
		return pb.SummaryState_SUMMARY_STATE_COMPLETE
	}
}

// stopped says that a person or a program ended the run, and not an abort condition before that.
func (e evidence) stopped() bool {
	stop, stopped := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED)
	abort, aborted := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_ABORTED)
	return stopped && (!aborted || stop.AtUS < abort.AtUS)
}

// ending tells of a stop or an abort.
func (e evidence) ending() []string {
	if e.stopped() {
		stop, _ := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED)
		return []string{sentence(fmt.Sprintf("the run was stopped %s after its start", Quantity(float64(stop.AtUS), UnitMicros)), stop.Detail)}
	}
	if abort, ok := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_ABORTED); ok {
		return []string{sentence(fmt.Sprintf("an abort condition ended the run %s after its start", Quantity(float64(abort.AtUS), UnitMicros)), abort.Detail)}
	}
	return nil
}

// unforeseen tells why a run ended that neither its plan nor a person nor a condition ended.
func (e evidence) unforeseen() []string {
	ended, ok := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED)
	aborted := ok && ended.State == pb.RunState_RUN_STATE_ABORTED
	if e.run.Stopped() || (e.begun() && !aborted) {
		return nil
	}
	what := "the run never began"
	if e.begun() {
		what = "the run ended before its plan did"
	}
	out := []string{sentence(what, ended.Detail)}
	for _, a := range e.run.FailedAgents() {
		out = append(out, sentence("agent "+a.Agent+" could not get ready", a.Detail))
	}
	return out
}

// sentence joins what happened and its detail, where there is one.
func sentence(what, detail string) string {
	if detail == "" {
		return what
	}
	return what + ": " + detail
}
