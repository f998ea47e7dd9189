package record

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	us = measure.Instant(1000)
	ms = 1000 * us
)

// scenario has the given numbers of phases and workloads, all of one streaming target.
func scenario(phases, workloads int, change ...func(*pb.Scenario)) *pb.Scenario {
	b := pb.Scenario_builder{Targets: []*pb.Target{pb.Target_builder{
		Name: proto.String("chat"), Protocol: pb.Protocol_PROTOCOL_OPENAI_CHAT.Enum(),
	}.Build()}, Drain: durationpb.New(30 * time.Second)}
	for i := range phases {
		b.Load = append(b.Load, pb.Phase_builder{Name: proto.String(fmt.Sprintf("phase-%d", i+1))}.Build())
	}
	for i := range workloads {
		b.Workloads = append(b.Workloads, pb.Workload_builder{
			Name: proto.String(fmt.Sprintf("workload-%d", i+1)), Target: proto.String("chat"), Stream: proto.Bool(true),
		}.Build())
	}
	s := b.Build()
	for _, c := range change {
		c(s)
	}
	return s
}

// recorder makes one for a scenario of two phases of a second each and two workloads.
func recorder(shards, records int) *Recorder {
	return New(Config{
		Scenario: scenario(2, 2),
		Spans:    []Span{{0, 1_000_000_000}, {1_000_000_000, 2_000_000_000}},
		Seed:     7, Shards: shards, Records: records,
	})
}

// answered is a streamed request with three events, due at its number in milliseconds.
func answered(n uint64, change ...func(*measure.Outcome)) *measure.Outcome {
	var o measure.Outcome
	o.Reset()
	o.ID.Number = n
	o.Due = measure.Instant(n) * ms
	o.Dispatched, o.Connected, o.Sent, o.FirstByte = o.Due+10*us, o.Due+110*us, o.Due+120*us, o.Due+400*us
	o.Events = append(o.Events, o.Due+500*us, o.Due+600*us, o.Due+900*us)
	o.FirstAnswer = o.Events[0]
	o.End = o.Due + 1000*us
	o.Streamed, o.NewConnection = true, true
	o.Tokens, o.InputTokens, o.OutputTokens = measure.TokensServer, 50, 4
	o.BytesIn, o.BytesOut = 900, 300
	for _, c := range change {
		c(&o)
	}
	return &o
}

// stamped gives the reads of an answer the kernel's stamps, and asks for the series made of them.
func stamped(o *measure.Outcome) {
	o.FirstByteStamp, o.Wire = o.FirstByte-3*us, true
	o.Stamps = append(o.Stamps, o.Events[0]-5*us, o.Events[1]-9*us, o.Events[2]-7*us)
}

// The series of the kernel's stamps go into every window like all others.
func TestStampsAreRecorded(t *testing.T) {
	r := recorder(2, 0)
	for n := range uint64(3) {
		r.Record(answered(n, stamped))
		w := add(r.Swap(measure.Instant(n+1) * 10 * ms))
		for series, want := range map[pb.Series][]uint64{
			pb.Series_SERIES_READ_LAG: {3, 5, 7, 9}, pb.Series_SERIES_TTFT_WIRE: {485}, pb.Series_SERIES_ITL_WIRE: {96, 302},
		} {
			h := new(hist.Histogram)
			if err := h.MergeBinary(w.groups[pair{}].series[series]); err != nil {
				t.Fatal(err)
			}
			if h.Count() != uint64(len(want)) || h.Min() != want[0] || h.Max() != want[len(want)-1] {
				t.Errorf("window %d: %s has %d values from %d to %d, want %d", n, series, h.Count(), h.Min(), h.Max(), want)
			}
		}
	}
}

func failed(o *measure.Outcome) {
	o.Class, o.Err = measure.ClassReset, fmt.Sprint("broken at ", o.ID.Number)
}

func TestEveryCounterHasItsField(t *testing.T) {
	fields := new(pb.Counters).ProtoReflect().Descriptor().Fields()
	if fields.Len() != int(numCounters) {
		t.Errorf("%d counters, the schema has %d", numCounters, fields.Len())
	}
	for c := range numCounters {
		var all counters
		all[c] = 9
		// The constants stand in the order of the schema's numbers.
		m := all.proto().ProtoReflect()
		if got := m.Get(fields.ByNumber(fields.Get(int(c)).Number())).Uint(); got != 9 {
			t.Errorf("counter %d is not field %s", c, fields.Get(int(c)).Name())
		}
	}
}

func TestCountersOfARequest(t *testing.T) {
	whole := map[string]uint64{
		"requests_succeeded": 1, "good": 1, "span_succeeded": 1, "span_good": 1,
		"input_tokens": 50, "output_tokens": 4, "span_input_tokens": 50, "span_output_tokens": 4,
		"content_events": 3, "connections_new": 1, "bytes_in": 900, "bytes_out": 300,
		"tokens_from_server": 1, "tokens_differ": 1, "tokens_difference": 1,
	}
	for _, c := range []struct {
		name   string
		change func(*measure.Outcome)
		want   map[string]uint64
	}{
		{"streamed", func(*measure.Outcome) {}, whole},
		{"later turn", func(o *measure.Outcome) { o.Turn = 1 }, with(whole, "requests_sent", 1)},
		{"connection used again", func(o *measure.Outcome) { o.NewConnection = false },
			with(whole, "connections_new", 0, "connections_reused", 1)},
		{"server and events agree", func(o *measure.Outcome) { o.OutputTokens = 3 },
			with(whole, "output_tokens", 3, "span_output_tokens", 3, "tokens_differ", 0, "tokens_difference", 0)},
		{"tokens counted by events", func(o *measure.Outcome) { o.Tokens, o.OutputTokens = measure.TokensEvents, 3 },
			with(whole, "output_tokens", 3, "span_output_tokens", 3, "tokens_from_server", 0, "tokens_from_events", 1, "tokens_differ", 0, "tokens_difference", 0)},
		{"coalesced", func(o *measure.Outcome) { o.Coalesced = 2 }, with(whole, "coalesced", 2)},
		{"stamps dropped", func(o *measure.Outcome) { o.StampsDropped = 3 }, with(whole, "stamps_dropped", 3)},
		{"stale connections", func(o *measure.Outcome) { o.Stale = 2 }, with(whole, "connections_stale", 2)},
		{"ended at the start of the span", func(o *measure.Outcome) { o.End = 0 }, whole},
		{"ended at the end of the span", func(o *measure.Outcome) { o.End = 1_000_000_000 },
			with(whole, "span_succeeded", 0, "span_good", 0, "span_input_tokens", 0, "span_output_tokens", 0)},
		{"over the range", func(o *measure.Outcome) { o.End = 4_000_000_000 * us },
			with(whole, "over_range", 3, "span_succeeded", 0, "span_good", 0, "span_input_tokens", 0, "span_output_tokens", 0)},
		{"failed", failed, map[string]uint64{
			"requests_failed": 1, "span_failed": 1, "content_events": 3, "connections_new": 1, "bytes_in": 900, "bytes_out": 300,
		}},
		{"failed to connect, after the span", func(o *measure.Outcome) {
			failed(o)
			o.End, o.Connected, o.NewConnection, o.Events, o.BytesIn, o.BytesOut = 2_000_000_000, measure.None, false, nil, 0, 0
		}, map[string]uint64{"requests_failed": 1}},
		{"canceled", func(o *measure.Outcome) { o.Class = measure.ClassCanceled }, map[string]uint64{
			"requests_canceled": 1, "content_events": 3, "connections_new": 1, "bytes_in": 900, "bytes_out": 300,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recorder(1, 0)
			r.Record(answered(1, c.change))
			got := add(r.Swap(2 * ms)).groups[pair{}].counters
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("want -, got +:\n%s", d)
			}
		})
	}
}

// What a canceled request had waited for in vain: counted from due, and in a workload that streams
// whether or not the answer ever began.
func TestCanceled(t *testing.T) {
	const drain = 30_000 * ms
	none := func(o *measure.Outcome) { o.Events = nil }
	headless := func(o *measure.Outcome) { o.Streamed, o.Events, o.FirstByte = false, nil, measure.None }
	unary := func(s *pb.Scenario) { s.GetWorkloads()[0].SetStream(false) }
	plain := func(s *pb.Scenario) { s.GetTargets()[0].SetProtocol(pb.Protocol_PROTOCOL_HTTP) }
	short := func(s *pb.Scenario) { s.SetDrain(nil) }
	for name, c := range map[string]struct {
		waited   measure.Instant
		outcome  func(*measure.Outcome)
		scenario func(*pb.Scenario)
		want     [3]uint64 // canceled, late, silent
	}{
		"without a head":              {drain, headless, nil, [3]uint64{1, 1, 1}},
		"a head and no content":       {drain, none, nil, [3]uint64{1, 1, 1}},
		"within its answer":           {drain, nil, nil, [3]uint64{1, 1, 0}},
		"before the drain was over":   {drain - 1, headless, nil, [3]uint64{1, 0, 0}},
		"dispatched late":             {drain, func(o *measure.Outcome) { headless(o); o.Dispatched += 5 * ms }, nil, [3]uint64{1, 1, 1}},
		"not to be streamed":          {drain, headless, unary, [3]uint64{1, 1, 0}},
		"a target that has no tokens": {drain, headless, plain, [3]uint64{1, 1, 0}},
		"no drain":                    {0, headless, short, [3]uint64{1, 1, 1}},
		"failed":                      {drain, func(o *measure.Outcome) { headless(o); o.Class = measure.ClassReset }, nil, [3]uint64{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario(1, 1)
			if c.scenario != nil {
				c.scenario(s)
			}
			r := New(Config{Scenario: s, Spans: []Span{{0, math.MaxInt64}}, Shards: 1})
			o := answered(1, func(o *measure.Outcome) { o.Class, o.End = measure.ClassCanceled, o.Due+c.waited })
			if c.outcome != nil {
				c.outcome(o)
			}
			r.Record(o)
			for what, g := range map[string]*pb.Group{"window": r.Swap(2 * drain).GetGroups()[0], "totals": r.Totals().GetGroups()[0]} {
				n := g.GetCounters()
				if got := [3]uint64{n.GetRequestsCanceled(), n.GetRequestsCanceledLate(), n.GetRequestsCanceledSilent()}; got != c.want {
					t.Errorf("%s: %v, want %v", what, got, c.want)
				}
			}
		})
	}
}

// with changes some entries of m; 0 takes one out.
func with(m map[string]uint64, changes ...any) map[string]uint64 {
	m = maps.Clone(m)
	for i := 0; i < len(changes); i += 2 {
		m[changes[i].(string)] = uint64(changes[i+1].(int))
		if m[changes[i].(string)] == 0 {
			delete(m, changes[i].(string))
		}
	}
	return m
}

func TestArrivalsAndSessions(t *testing.T) {
	r := recorder(4, 0)
	r.Due(0, 1, 5)
	r.count(0, 1, missed, 1)
	r.Late(0, 1, 300_000_000)
	r.count(0, 1, shed, 1)
	for range 3 {
		r.Started(0, 1, 0)
	}
	r.SessionEnded(0, 1, 1*ms, 3*ms, "")
	r.SessionEnded(0, 1, 1*ms, 4*ms, measure.ClassReset)
	r.SessionEnded(0, 1, 1*ms, 5*ms, measure.ClassCanceled)
	w := r.Swap(10 * ms)
	got := add(w).groups[pair{0, 1}]
	want := map[string]uint64{
		"due": 5, "missed": 1, "shed": 1, "started": 3, "requests_sent": 3,
		"sessions_succeeded": 1, "sessions_failed": 1, "sessions_canceled": 1,
	}
	if d := cmp.Diff(want, got.counters); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
	for series, value := range map[measure.Series]uint64{measure.Session: 2000, measure.Lateness: 300_000} {
		var h hist.Histogram
		h.Record(value)
		if !bytes.Equal(got.series[pb.Series(series)], h.AppendBinary(nil)) {
			t.Errorf("%s is not one value of %d µs", series, value)
		}
	}
}

func TestErrorsByClass(t *testing.T) {
	r := recorder(4, 0)
	for n := range uint64(40) {
		r.Record(answered(n, failed))
		r.Record(answered(n, func(o *measure.Outcome) { o.Class, o.Turn = measure.HTTPClass(500), 1 }))
	}
	errors := r.Swap(100 * ms).GetGroups()[0].GetErrors()
	if len(errors) != 2 || errors[0].GetClass() != "http_500" || errors[1].GetClass() != measure.ClassReset {
		t.Fatalf("got %v", errors)
	}
	var smallest *measure.Outcome
	for n := range uint64(40) {
		if o := answered(n, failed); smallest == nil || r.hash(o) < r.hash(smallest) {
			smallest = o
		}
	}
	if e := errors[1]; e.GetCount() != 40 || e.GetExample() != smallest.Err || e.GetExampleHash() != r.hash(smallest) {
		t.Errorf("got %v, want 40 and %q", e, smallest.Err)
	}
}

// Whatever a target sends, the window can be sent on.
func TestTextsFitTheWire(t *testing.T) {
	r := recorder(1, 10)
	r.Record(answered(1, func(o *measure.Outcome) {
		o.Class, o.Err, o.Body = measure.ClassMalformed, "\xff"+strings.Repeat("é", measure.MaxErr), []byte("a\xff")
	}))
	w := r.Swap(2 * ms)
	if _, err := proto.Marshal(w); err != nil {
		t.Fatal(err)
	}
	if got := w.GetRecords()[0]; len(got.GetError()) > measure.MaxErr || got.GetBody() != "a\uFFFD" {
		t.Errorf("error of %d bytes, body %q", len(got.GetError()), got.GetBody())
	}
	if got := w.GetGroups()[0].GetErrors()[0].GetExample(); len(got) > measure.MaxErr {
		t.Errorf("example of %d bytes", len(got))
	}
}

func TestWindowsFollowEachOther(t *testing.T) {
	r := New(Config{Scenario: scenario(1, 1), Spans: []Span{{0, math.MaxInt64}}, Shards: 1, Start: -1500 * us})
	for _, c := range []struct {
		now        measure.Instant
		start, end int64
	}{
		{0, -1500, 0},
		{1_000_000_999, 0, 1_000_000},
		{1_000_000_999, 1_000_000, 1_000_001}, // a window is never empty
		{2_000_000_000, 1_000_001, 2_000_000},
	} {
		if w := r.Swap(c.now); w.GetStartUs() != c.start || w.GetEndUs() != c.end {
			t.Errorf("swap at %d: %d to %d, want %d to %d", c.now, w.GetStartUs(), w.GetEndUs(), c.start, c.end)
		}
	}
}

func TestInFlight(t *testing.T) {
	r := recorder(4, 0)
	swap := func(now measure.Instant) []uint64 {
		w := r.Swap(now)
		if len(w.GetInFlight()) == 0 {
			return nil
		}
		f := w.GetInFlight()[0]
		return []uint64{f.GetMax(), f.GetOpenUs(), f.GetNow()}
	}
	check := func(what string, got []uint64, want ...uint64) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: most, open µs and now are %v, want %v", what, got, want)
		}
	}
	check("nothing yet", swap(1*ms))
	r.Started(0, 0, 1200*us)
	r.Started(0, 1, 1500*us)
	r.SessionEnded(0, 0, 0, 1700*us, "")
	check("two, of which one has ended", swap(2*ms), 2, 1000, 1)
	check("one all along", swap(3*ms), 1, 1000, 1)
	r.SessionEnded(0, 1, 0, 2900*us, "") // it ended before the last swap, which had not heard of it
	check("ended before the window", swap(4*ms), 1, 0, 0)
	check("nothing left, 100 µs too many so far", swap(5*ms))
	r.Started(0, 0, 5000*us)
	r.SessionEnded(0, 0, 0, 5300*us, "")
	check("made good for", swap(6*ms), 1, 200, 0)
	check("nothing", swap(7*ms))
}

func TestRecordAllocatesNothing(t *testing.T) {
	r := recorder(4, 200)
	good, bad := answered(1, stamped), answered(2, failed)
	hung := answered(3, func(o *measure.Outcome) { o.Class, o.Events, o.End = measure.ClassCanceled, nil, o.Due+31_000*ms })
	cycle := func() {
		for n := range uint64(500) {
			good.ID.Number, bad.ID.Number = n, n+1000
			r.Due(0, 0, 1)
			r.Started(0, 0, good.Due)
			r.Record(good)
			r.Record(bad)
			r.Record(hung)
			r.SessionEnded(0, 0, good.Due, good.End, "")
		}
	}
	for now := range measure.Instant(4) { // both sets of every shard have seen what is to come
		cycle()
		r.Swap(now * ms)
	}
	if n := testing.AllocsPerRun(1, cycle); n != 0 {
		t.Errorf("%v allocations for 1,000 requests", n)
	}
}

// The memory of a pair without values is given up after a while, and its counts are not.
func TestIdlePairsAreForgotten(t *testing.T) {
	r := recorder(1, 0)
	r.Record(answered(1))
	for i := range measure.Instant(2*maxIdle + 6) {
		r.Swap(i * ms)
	}
	s := &r.shards[0]
	if n := len(s.active.groups) + len(s.spare.groups) + len(r.windows.sum.groups); n != 0 {
		t.Errorf("%d groups are still there", n)
	}
	r.Record(answered(2))
	if got := add(r.Swap(1000 * ms)).groups[pair{}].counters["requests_succeeded"]; got != 1 {
		t.Errorf("%d requests in the last window", got)
	}
	if got := r.Totals().GetGroups()[0].GetCounters().GetRequestsSucceeded(); got != 2 {
		t.Errorf("%d requests in all", got)
	}
}

func (r *Recorder) hash(o *measure.Outcome) uint64 {
	return measure.Rank(r.seed, uint32(o.Phase), o.Turn, o.ID)
}
