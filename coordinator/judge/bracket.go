package judge

import (
	"math"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// bracket holds the two judgings of one objective. NaN: there is no value. +Inf: infinitely slow.
type bracket struct {
	// observed is what was measured, arrivals without an answer left out.
	observed float64
	// fast and slow are the values with the arrivals without an answer counted so.
	fast, slow float64
	// samples is what a floor is compared with.
	samples uint64
	// answers says how many requests stand behind the value.
	answers answers
}

// answers counts what became of what fell due.
type answers struct {
	measured uint64 // values of the series, or requests with an answer
	failed   uint64
	silent   uint64 // missed, shed, lost, unfinished
	canceled uint64
	// cut is how many of canceled had waited less than the drain time: a stop cut them off, and
	// they might have been fast.
	cut uint64
	// outlasted is how many of failed were canceled when the drain time was over, and so are
	// known to have taken longer than the bound.
	outlasted uint64
	parts     silence
}

// silence tells the arrivals without an answer apart.
type silence struct{ missed, shed, lost, unfinished uint64 }

// unanswered is everything of which it is not known how long it would have taken.
func (a answers) unanswered() uint64 { return a.silent + a.canceled }

// all is every arrival that a judging may count.
func (a answers) all() uint64 { return a.measured + a.failed + a.silent + a.canceled }

// ofRequests counts requests; an arrival without a session is a request that was never sent.
func ofRequests(l merge.Ledger, measured uint64) answers {
	parts := silence{l.Missed, l.Shed, l.Lost, l.RequestsUnfinished + l.NotSent}
	return answers{
		measured: measured, failed: l.RequestsFailed, canceled: l.RequestsCanceled,
		silent: parts.missed + parts.shed + parts.lost + parts.unfinished, parts: parts,
	}
}

func ofSessions(l merge.Ledger, measured uint64) answers {
	parts := silence{l.Missed, l.Shed, l.Lost, l.SessionsUnfinished}
	return answers{
		measured: measured, failed: l.SessionsFailed, canceled: l.SessionsCanceled,
		silent: parts.missed + parts.shed + parts.lost + parts.unfinished, parts: parts,
	}
}

// weigh computes both judgings of an objective.
func weigh(o *pb.Objective, s scope) bracket {
	switch o.GetAggregate() {
	case pb.Aggregate_AGGREGATE_QUANTILE:
		return weighQuantile(o, s)
	case pb.Aggregate_AGGREGATE_SHARE:
		return weighShare(o.GetMetric(), s)
	case pb.Aggregate_AGGREGATE_RATE:
		return weighRate(o.GetMetric(), s)
	case pb.Aggregate_AGGREGATE_MEAN:
		return measuredOnly(s.values, s.values.Mean())
	case pb.Aggregate_AGGREGATE_MAX:
		return measuredOnly(s.values, float64(s.values.Max()))
	case pb.Aggregate_AGGREGATE_MIN:
		return measuredOnly(s.values, float64(s.values.Min()))
	default:
		return bracket{observed: math.NaN(), fast: math.NaN(), slow: math.NaN()}
	}
}

// measuredOnly is a value that arrivals without an answer have no part in.
func measuredOnly(h *hist.Histogram, v float64) bracket {
	if h.Count() == 0 {
		v = math.NaN()
	}
	return bracket{observed: v, fast: v, slow: v, samples: h.Count(), answers: answers{measured: h.Count()}}
}

func weighQuantile(o *pb.Objective, s scope) bracket {
	series, _ := seriesOf(o)
	p, h := o.GetQuantile(), s.values
	observed := math.NaN()
	if h.Count() > 0 {
		observed = float64(h.Quantile(p))
	}
	var a answers
	switch series {
	case measure.Session:
		a = ofSessions(s.ledger, h.Count())
	case measure.Lateness, measure.Connect, measure.DNS, measure.TLS, measure.ITL, measure.E2EFailed,
		measure.InputTokens, measure.OutputTokens, measure.TokensPerEvent, measure.ReadLag, measure.ITLWire:
		// Several values a request, or none to do with its answer: only what was measured counts.
		return measuredOnly(h, observed)
	default:
		a = ofRequests(s.ledger, h.Count())
	}
	a.canceledAt(s)
	return bracket{
		observed: observed, samples: a.all(), answers: a,
		fast: ranked(h, p, a.silent+a.cut, a.failed), slow: ranked(h, p, 0, a.failed+a.unanswered()),
	}
}

// canceledAt tells the canceled ones apart by how long they had waited.
func (a *answers) canceledAt(s scope) {
	a.outlasted = min(s.outlasted, a.canceled)
	a.failed, a.canceled = a.failed+a.outlasted, a.canceled-a.outlasted
	early := s.counters[merge.RequestsCanceled] - min(s.counters[merge.RequestsCanceled], s.counters[merge.RequestsCanceledLate])
	a.cut = min(early, a.canceled)
}

// ranked is the p-quantile of the values of h together with `fast` values below all of them and
// `slow` ones above.
func ranked(h *hist.Histogram, p float64, fast, slow uint64) float64 {
	rank := hist.Rank(p, fast+h.Count()+slow)
	switch {
	case rank == 0:
		return math.NaN()
	case rank <= fast:
		return 0
	case rank <= fast+h.Count():
		return float64(h.ValueAtRank(rank - fast))
	default:
		return math.Inf(1)
	}
}

func weighShare(metric string, s scope) bracket {
	l := s.ledger
	a := ofRequests(l, l.RequestsSucceeded)
	b := bracket{samples: a.all(), answers: a}
	if metric == "goodput_share" {
		good := s.counters[merge.Good]
		b.observed = share(good, a.all())
		b.slow = b.observed
		b.fast = share(good+a.silent, a.all()-a.canceled)
		return b
	}
	b.observed = share(a.failed, a.failed+a.measured)
	b.fast = share(a.failed, a.failed+a.measured+a.silent)
	b.slow = share(a.failed+a.unanswered(), a.all())
	return b
}

// share is part / whole; NaN of nothing.
func share(part, whole uint64) float64 {
	if whole == 0 {
		return math.NaN()
	}
	return float64(part) / float64(whole)
}

// weighRate counts an arrival without an answer as nothing, and then as one more good answer,
// as long as the longest one measured.
func weighRate(metric string, s scope) bracket {
	c := &s.counters
	a := ofRequests(s.ledger, c[merge.SpanSucceeded])
	var sum, each uint64
	switch metric {
	case "requests":
		sum, each = c[merge.SpanSucceeded], 1
	case "goodput":
		sum, each = c[merge.SpanGood], 1
	case "output_tokens":
		sum, each = c[merge.SpanOutputTokens], s.mostOutput
	case "input_tokens":
		sum, each = c[merge.SpanInputTokens], s.mostInput
	}
	b := bracket{samples: a.all(), answers: a}
	b.observed = perSecond(sum, s.spanNS)
	b.slow, b.fast = b.observed, perSecond(sum+each*a.silent, s.spanNS)
	if a.silent > 0 && each == 0 {
		b.fast = math.Inf(1)
	}
	return b
}

// perSecond is n over a span in nanoseconds; NaN where the span is too short to have a rate.
func perSecond(n uint64, spanNS int64) float64 {
	if spanNS < minSpanNS {
		return math.NaN()
	}
	return float64(n) * 1e9 / float64(spanNS)
}
