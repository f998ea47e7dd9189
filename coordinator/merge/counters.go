package merge

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Counter names one of the sums that every window carries; the schema's message Counters says
// what each means.
type Counter int

// The counters, in the order of the schema.
const (
	Due Counter = iota
	Started
	Missed
	Shed
	SessionsSucceeded
	SessionsFailed
	SessionsCanceled
	RequestsSent
	RequestsSucceeded
	RequestsFailed
	RequestsCanceled
	Good
	InputTokens
	OutputTokens
	SpanSucceeded
	SpanFailed
	SpanGood
	SpanInputTokens
	SpanOutputTokens
	Coalesced
	ContentEvents
	OverRange
	ConnectionsNew
	ConnectionsReused
	BytesIn
	BytesOut
	TokensFromServer
	TokensFromEvents
	TokensDiffer
	TokensDifference
	RequestsCanceledLate
	RequestsCanceledSilent
	StampsDropped
	ConnectionsStale
	NumCounters
)

// Counters holds one sum per Counter.
type Counters [NumCounters]uint64

// Add adds o up.
func (c *Counters) Add(o *Counters) {
	for i, v := range o {
		c[i] += v
	}
}

// Accounted is the number of arrivals of which something is known: started, missed or shed. An
// end proves that there was a start.
func (c *Counters) Accounted() uint64 {
	return max(c[Started], c.SessionsEnded()) + c[Missed] + c[Shed]
}

// SessionsEnded is the number of sessions whose end was reported.
func (c *Counters) SessionsEnded() uint64 {
	return c[SessionsSucceeded] + c[SessionsFailed] + c[SessionsCanceled]
}

// RequestsEnded is the number of requests whose end was reported.
func (c *Counters) RequestsEnded() uint64 {
	return c[RequestsSucceeded] + c[RequestsFailed] + c[RequestsCanceled]
}

var errCount = errors.New("a counter is larger than any window can count")

// countersOf reads counters of at most `most` each.
func countersOf(m *pb.Counters, most uint64) (Counters, error) {
	c := Counters{
		Due: m.GetDue(), Started: m.GetStarted(), Missed: m.GetMissed(), Shed: m.GetShed(),
		SessionsSucceeded: m.GetSessionsSucceeded(), SessionsFailed: m.GetSessionsFailed(),
		SessionsCanceled: m.GetSessionsCanceled(),
		RequestsSent:     m.GetRequestsSent(), RequestsSucceeded: m.GetRequestsSucceeded(),
		RequestsFailed: m.GetRequestsFailed(), RequestsCanceled: m.GetRequestsCanceled(),
		Good: m.GetGood(), InputTokens: m.GetInputTokens(), OutputTokens: m.GetOutputTokens(),
		SpanSucceeded: m.GetSpanSucceeded(), SpanFailed: m.GetSpanFailed(), SpanGood: m.GetSpanGood(),
		SpanInputTokens: m.GetSpanInputTokens(), SpanOutputTokens: m.GetSpanOutputTokens(),
		Coalesced: m.GetCoalesced(), ContentEvents: m.GetContentEvents(), OverRange: m.GetOverRange(),
		ConnectionsNew: m.GetConnectionsNew(), ConnectionsReused: m.GetConnectionsReused(),
		BytesIn: m.GetBytesIn(), BytesOut: m.GetBytesOut(),
		TokensFromServer: m.GetTokensFromServer(), TokensFromEvents: m.GetTokensFromEvents(),
		TokensDiffer: m.GetTokensDiffer(), TokensDifference: m.GetTokensDifference(),
		RequestsCanceledLate: m.GetRequestsCanceledLate(), RequestsCanceledSilent: m.GetRequestsCanceledSilent(),
		StampsDropped: m.GetStampsDropped(), ConnectionsStale: m.GetConnectionsStale(),
	}
	for i, v := range c {
		if v > most {
			return Counters{}, fmt.Errorf("%w: %s is %d", errCount, Counter(i), v)
		}
	}
	return c, nil
}

// message writes the counters, of which the schema has one field each, in the same order.
func (c *Counters) message() *pb.Counters {
	m := &pb.Counters{}
	to := m.ProtoReflect()
	fields := to.Descriptor().Fields()
	for i, v := range c {
		if v > 0 {
			to.Set(fields.Get(i), protoreflect.ValueOfUint64(v))
		}
	}
	return m
}

// String is the counter's name in the schema.
func (c Counter) String() string {
	names := [NumCounters]string{
		"due", "started", "missed", "shed", "sessions_succeeded", "sessions_failed", "sessions_canceled",
		"requests_sent", "requests_succeeded", "requests_failed", "requests_canceled", "good",
		"input_tokens", "output_tokens", "span_succeeded", "span_failed", "span_good", "span_input_tokens",
		"span_output_tokens", "coalesced", "content_events", "over_range", "connections_new",
		"connections_reused", "bytes_in", "bytes_out", "tokens_from_server", "tokens_from_events",
		"tokens_differ", "tokens_difference", "requests_canceled_late", "requests_canceled_silent",
		"stamps_dropped", "connections_stale",
	}
	if c < 0 || c >= NumCounters {
		return "?"
	}
	return names[c]
}
