package record

import (
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// counter names one of the schema's Counters.
type counter int

const (
	due counter = iota
	started
	missed
	shed
	sessionsSucceeded
	sessionsFailed
	sessionsCanceled
	requestsSent
	requestsSucceeded
	requestsFailed
	requestsCanceled
	good
	inputTokens
	outputTokens
	spanSucceeded
	spanFailed
	spanGood
	spanInputTokens
	spanOutputTokens
	coalesced
	contentEvents
	overRange
	connectionsNew
	connectionsReused
	bytesIn
	bytesOut
	tokensFromServer
	tokensFromEvents
	tokensDiffer
	tokensDifference
	requestsCanceledLate
	requestsCanceledSilent
	stampsDropped
	connectionsStale

	numCounters
)

type counters [numCounters]uint64

func (c *counters) add(o *counters) {
	for i, n := range o {
		c[i] += n
	}
}

// request is what is known of a request beside its outcome.
type request struct {
	good      goodness
	overRange uint64
	inSpan    bool            // it ended within the phase's span
	drain     measure.Instant // length of the scenario's drain
	streams   bool            // its workload is to be answered by a stream of tokens
}

// request counts a request that has ended.
func (c *counters) request(o *measure.Outcome, r *request) {
	if o.Turn > 0 {
		c[requestsSent]++ // that of turn 0 was counted when the session started
	}
	events := uint64(len(o.Events))
	c[contentEvents] += events
	c[coalesced] += o.Coalesced
	c[stampsDropped] += o.StampsDropped
	c[connectionsStale] += o.Stale
	c[bytesIn] += o.BytesIn
	c[bytesOut] += o.BytesOut
	if o.NewConnection {
		c[connectionsNew]++
	} else if o.Connected.Reached() {
		c[connectionsReused]++
	}
	switch {
	case o.Succeeded():
		c.success(o, r)
	case o.Canceled():
		c.canceled(o, r)
	default:
		c[requestsFailed]++
		if r.inSpan {
			c[spanFailed]++
		}
	}
}

// canceled counts a request that was canceled and what it had waited for in vain. That it had a
// stream to expect is told by its workload: a target that hangs sends no head, and without one the
// outcome is not streamed.
func (c *counters) canceled(o *measure.Outcome, r *request) {
	c[requestsCanceled]++
	if o.End-o.Due < r.drain {
		return
	}
	c[requestsCanceledLate]++
	if r.streams && len(o.Events) == 0 {
		c[requestsCanceledSilent]++
	}
}

func (c *counters) success(o *measure.Outcome, r *request) {
	c[requestsSucceeded]++
	c[inputTokens] += o.InputTokens
	c[outputTokens] += o.OutputTokens
	if r.inSpan {
		c[spanSucceeded]++
		c[spanInputTokens] += o.InputTokens
		c[spanOutputTokens] += o.OutputTokens
	}
	if r.good.good() {
		c[good]++
		if r.inSpan {
			c[spanGood]++
		}
	}
	c.tokens(o)
}

// tokens counts where the output tokens came from, and how far two counts of them differ.
func (c *counters) tokens(o *measure.Outcome) {
	switch o.Tokens {
	case measure.TokensEvents:
		c[tokensFromEvents]++
	case measure.TokensServer:
		c[tokensFromServer]++
		events := uint64(len(o.Events))
		if events > 0 && events != o.OutputTokens {
			c[tokensDiffer]++
			c[tokensDifference] += max(events, o.OutputTokens) - min(events, o.OutputTokens)
		}
	}
}

func (c *counters) proto() *pb.Counters {
	return pb.Counters_builder{
		Due:               c[due],
		Started:           c[started],
		Missed:            c[missed],
		Shed:              c[shed],
		SessionsSucceeded: c[sessionsSucceeded],
		SessionsFailed:    c[sessionsFailed],
		SessionsCanceled:  c[sessionsCanceled],
		RequestsSent:      c[requestsSent],
		RequestsSucceeded: c[requestsSucceeded],
		RequestsFailed:    c[requestsFailed],
		RequestsCanceled:  c[requestsCanceled],
		Good:              c[good],
		InputTokens:       c[inputTokens],
		OutputTokens:      c[outputTokens],
		SpanSucceeded:     c[spanSucceeded],
		SpanFailed:        c[spanFailed],
		SpanGood:          c[spanGood],
		SpanInputTokens:   c[spanInputTokens],
		SpanOutputTokens:  c[spanOutputTokens],
		Coalesced:         c[coalesced],
		ContentEvents:     c[contentEvents],
		OverRange:         c[overRange],
		ConnectionsNew:    c[connectionsNew],
		ConnectionsReused: c[connectionsReused],
		BytesIn:           c[bytesIn],
		BytesOut:          c[bytesOut],
		TokensFromServer:  c[tokensFromServer],
		TokensFromEvents:  c[tokensFromEvents],
		TokensDiffer:      c[tokensDiffer],
		TokensDifference:  c[tokensDifference],

		RequestsCanceledLate:   c[requestsCanceledLate],
		RequestsCanceledSilent: c[requestsCanceledSilent],
		StampsDropped:          c[stampsDropped],
		ConnectionsStale:       c[connectionsStale],
	}.Build()
}
