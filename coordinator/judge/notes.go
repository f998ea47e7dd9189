package judge

import (
	"fmt"

	"github.com/loadline/loadline/coordinator/merge"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// notes tells a reader what to know before using the numbers.
func notes(r *merge.Run) []string {
	var out []string
	for _, t := range r.Scenario().GetTargets() {
		if t.GetTls().GetInsecure() {
			out = append(out, fmt.Sprintf("target %s: its certificate was not checked (tls.insecure)", t.GetName()))
		}
	}
	if e, ok := r.Event(pb.RunEventKind_RUN_EVENT_KIND_RESUMED); ok {
		out = append(out, fmt.Sprintf("the coordinator was started again; it took the run up %s after the start", Quantity(float64(e.AtUS), UnitMicros)))
	}
	for _, e := range r.LostAgents() {
		out = append(out, sentence(fmt.Sprintf("agent %s was lost %s after the start", e.Agent, Quantity(float64(e.AtUS), UnitMicros)), e.Detail))
	}
	if _, ok := r.Started(); ok {
		for _, e := range r.FailedAgents() {
			out = append(out, sentence(fmt.Sprintf("agent %s failed", e.Agent), e.Detail))
		}
	}
	if e, ok := r.Event(pb.RunEventKind_RUN_EVENT_KIND_DEGRADED); ok {
		out = append(out, sentence("the journal could not be written for a time", e.Detail))
	}
	out = append(out, ownerNotes(r)...)
	return append(append(out, countNotes(r)...), lagNotes(r)...)
}

// ownerNotes say which agents were held back by the ceilings of their owners, as one that has taken over the share of a lost one may
// be, and what raises them.
func ownerNotes(r *merge.Run) []string {
	var out []string
	for _, a := range r.Agents() {
		over := a.Over()
		for _, c := range []struct {
			n             uint64
			ceiling, flag string
		}{{over.Rate, "requests a second", "--max-rate"}, {over.InFlight, "requests in flight", "--max-in-flight"}} {
			if c.n > 0 {
				out = append(out, fmt.Sprintf("agent %s: its owner's ceiling of %s kept back %s (shed, or failed as refused); raise it with: loadline agent %s, or add agents",
					a.Name, c.ceiling, number(c.n, "request"), c.flag))
			}
		}
	}
	return out
}

// countNotes tells of what was left out or must be read with care.
func countNotes(r *merge.Run) []string {
	var out []string
	c := r.Whole().Counters
	if n := r.RecordsLeftOut(); n > 0 {
		out = append(out, fmt.Sprintf("%s not kept (capture.records); every one is in the counts and distributions", recordsWords(n)))
	}
	if n := r.SeriesLeftOut(); n > 0 {
		out = append(out, fmt.Sprintf("%s left out of the distributions: the limit of live series was met", number(n, "value")))
	}
	if n := c[merge.ConnectionsStale]; n > 0 {
		out = append(out, fmt.Sprintf("kept connections found dead before use: %s; another one was taken each time", Count(n)))
	}
	if n := c[merge.OverRange]; n > 0 {
		out = append(out, fmt.Sprintf("%s above the largest that a distribution holds, and counted as that", number(n, "value")))
	}
	if n := c[merge.TokensFromEvents]; n > 0 {
		out = append(out, fmt.Sprintf("output tokens of %s are the number of content events, as the server sent no usage", number(n, "request")))
	}
	if n := c[merge.TokensDiffer]; n > 0 {
		out = append(out, fmt.Sprintf("the server's usage and the number of content events differ in %s, by %s tokens on average",
			number(n, "request"), Quantity(float64(c[merge.TokensDifference])/float64(n), UnitTokens)))
	}
	if events := c[merge.ContentEvents]; float64(c[merge.Coalesced]) > coalescedShare*float64(events) {
		out = append(out, fmt.Sprintf("%s of the content events came in one read with the one before: read itl with care",
			Quantity(float64(c[merge.Coalesced])/float64(events), UnitShare)))
	}
	return out
}

func recordsWords(n uint64) string {
	if n == 1 {
		return "the record of 1 request was"
	}
	return "the records of " + Count(n) + " requests were"
}
