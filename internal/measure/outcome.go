// Package measure names what loadline measures: the outcome of one request, the series it feeds
// and the classes of its failure. Agents fill outcomes in and count them; the coordinator uses
// the same names to merge, judge and report.
package measure

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Instant is a moment in nanoseconds since the run's start on the agent's monotonic clock.
// It may be negative before the start.
type Instant int64

// None marks an instant that was not reached.
const None Instant = -1 << 63

// Reached reports whether the instant was reached.
func (t Instant) Reached() bool { return t != None }

// ID is the number of an arrival. Open load numbers arrivals within a phase from 0.
// Closed load numbers sessions by slot (counted from 1), epoch and iteration (Number).
type ID struct {
	// Number of the arrival within its phase; closed load: iteration of the slot, from 0.
	Number uint64
	// Slot of a closed load, counted from 1; 0 for open load.
	Slot uint32
	// Epoch in which the slot runs, counted from 1; 0 for open load.
	Epoch uint32
}

// AppendTo appends the number as it stands in X-Loadline-Arrival: "17", or "slot.epoch.iteration".
func (id ID) AppendTo(b []byte) []byte {
	if id.Slot > 0 {
		b = strconv.AppendUint(b, uint64(id.Slot), 10)
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(id.Epoch), 10)
		b = append(b, '.')
	}
	return strconv.AppendUint(b, id.Number, 10)
}

// TokenSource says where the number of output tokens came from.
type TokenSource uint8

// The sources, best first.
const (
	// TokensUnknown: there are none to count (plain HTTP).
	TokensUnknown TokenSource = iota
	// TokensServer: the server's usage block.
	TokensServer
	// TokensEvents: the number of content events.
	TokensEvents
)

// Outcome is what one request yielded. A worker owns one and uses it again after Reset, so
// that recording a request allocates nothing. A driver fills in everything from Dispatched on;
// who starts the request sets what stands before it.
type Outcome struct {
	// Phase and Workload are indexes into the scenario.
	Phase, Workload int
	// ID is the arrival; Turn the number of the request within its session, from 0.
	ID   ID
	Turn uint32
	// Due is the scheduled moment.
	Due Instant

	// Dispatched to End are the instants of metrics.md; None where not reached.
	Dispatched, Connected, Sent, FirstByte, End Instant
	// Lookup and Handshake are how long the target's name was looked up and how long the TLS handshake of a new
	// connection took; 0: there was none.
	Lookup, Handshake time.Duration
	// FirstAnswer is the first content event that is not reasoning.
	FirstAnswer Instant
	// Events holds the instant of every content event, in order, of a streamed answer.
	Events []Instant
	// Stamps holds, for every event, when the kernel received the end of the read that brought it, None where
	// that is not known; empty: nowhere. FirstByteStamp is that of FirstByte. A stamp is never after its read.
	Stamps         []Instant
	FirstByteStamp Instant
	// StampsDropped counts the reads whose stamp was of no use.
	StampsDropped uint64
	// Stale counts the kept connections that were found dead before anything was written to them; another one was taken.
	Stale uint64
	// Wire says that TTFTWire and ITLWire are wanted.
	Wire bool
	// RoundTrips holds, for a stream in both directions that ended well, how long each message of the answer
	// came after the message of the same place was sent.
	RoundTrips []time.Duration
	// Coalesced counts the events that shared a read with the one before.
	Coalesced uint64

	// Class is the class of failure, ClassCanceled, or empty for success.
	Class string
	// Err is the failure in words, at most MaxErr bytes, without secrets, prompts or answers beyond what the server's own error says.
	Err string
	// Status is the HTTP status or gRPC code; 0: none came.
	Status uint32

	// Streamed says that the answer was asked for and read as a stream of events.
	Streamed bool
	// Tokens says where OutputTokens came from.
	Tokens TokenSource
	// InputTokens and OutputTokens; 0: unknown or none.
	InputTokens, OutputTokens uint64
	// BytesIn and BytesOut count the exchange, headers included.
	BytesIn, BytesOut uint64
	// NewConnection says that a connection was opened for this request.
	NewConnection bool
	// Body is the answer's text where the request asked to keep it; at most MaxBody bytes.
	Body []byte
}

// Limits on what an outcome keeps.
const (
	// MaxErr bounds Outcome.Err, in bytes.
	MaxErr = 1 << 10
	// MaxBody bounds Outcome.Body, in bytes.
	MaxBody = 64 << 10
	// MaxEvents bounds the content events of one answer.
	MaxEvents = 1 << 20
)

// Reset makes the outcome ready for another request and keeps its buffers.
func (o *Outcome) Reset() {
	*o = Outcome{
		Dispatched: None, Connected: None, Sent: None, FirstByte: None, End: None, FirstAnswer: None, FirstByteStamp: None,
		Events: o.Events[:0], RoundTrips: o.RoundTrips[:0], Stamps: o.Stamps[:0], Body: o.Body[:0],
	}
}

// Fail notes a failure at the given moment. The first failure of a request stands; later ones are ignored.
func (o *Outcome) Fail(at Instant, class, text string) {
	if o.Class != "" {
		return
	}
	o.Class, o.Err, o.End = class, CleanErr(text), at
}

// CleanErr makes text fit Outcome.Err: valid UTF-8 (a target may send anything, and the wire
// refuses the rest) of at most MaxErr bytes, cut between characters.
func CleanErr(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= MaxErr {
		return text
	}
	end := MaxErr
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// FirstToken is the instant of the first content event, or None.
func (o *Outcome) FirstToken() Instant {
	if len(o.Events) == 0 {
		return None
	}
	return o.Events[0]
}

// LastToken is the instant of the last content event, or None.
func (o *Outcome) LastToken() Instant {
	if len(o.Events) == 0 {
		return None
	}
	return o.Events[len(o.Events)-1]
}
