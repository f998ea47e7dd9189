package measure

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const us = Instant(1000)

// exchange is a complete streamed request on a new connection: due at 1,000 µs, dispatched 10 µs
// later, connected, sent and answered 100, 20 and 300 µs after each other.
func exchange(change func(*Outcome)) *Outcome {
	var o Outcome
	o.Reset()
	o.Due, o.Dispatched, o.Connected, o.Sent, o.FirstByte = 1000*us, 1010*us, 1110*us, 1130*us, 1430*us
	o.Events = append(o.Events, 1500*us, 1600*us, 1850*us)
	o.FirstAnswer = 1500 * us
	o.End = 2000 * us
	o.Streamed, o.NewConnection = true, true
	o.Tokens, o.InputTokens, o.OutputTokens = TokensServer, 50, 6
	change(&o)
	return &o
}

// stamped gives every read of an exchange the kernel's stamp.
func stamped(o *Outcome) {
	o.FirstByteStamp = 1410 * us
	o.Stamps = append(o.Stamps, 1490*us, 1560*us, 1845*us)
}

type values map[Series][]uint64

func TestValues(t *testing.T) {
	whole := values{
		Lateness: {10}, Connect: {100}, Send: {20}, Wait: {300},
		TTFT: {500}, TTFTService: {490}, TTFO: {500}, ITL: {100, 250}, MaxITL: {250}, TPOT: {70},
		E2E: {1000}, E2EService: {990}, InputTokens: {50}, OutputTokens: {6}, TokensPerEvent: {2000}, Receive: {570},
	}
	for _, c := range []struct {
		name   string
		change func(*Outcome)
		want   values
	}{
		{"messages answered in turn", func(o *Outcome) { o.RoundTrips = append(o.RoundTrips, 70*time.Microsecond, 80*time.Microsecond) },
			with(whole, values{RoundTrip: {70, 80}})},
		{"streamed", func(o *Outcome) {}, whole},
		{"connection used again", func(o *Outcome) {
			o.NewConnection, o.Connected, o.Sent = false, o.Dispatched, 1030*us
		}, with(whole, values{Connect: nil, Wait: {400}})},
		{"later turn: lateness is a matter of the session's start", func(o *Outcome) { o.Turn = 1 },
			with(whole, values{Lateness: nil})},
		{"reasoning first", func(o *Outcome) { o.FirstAnswer = 1850 * us }, with(whole, values{TTFO: {850}})},
		{"reasoning only", func(o *Outcome) { o.FirstAnswer = None }, with(whole, values{TTFO: nil})},
		{"one event of one token", func(o *Outcome) { o.Events, o.OutputTokens = o.Events[:1], 1 },
			with(whole, values{ITL: nil, MaxITL: nil, TPOT: nil, OutputTokens: {1}, TokensPerEvent: {1000}})},
		{"one event of many tokens", func(o *Outcome) { o.Events = o.Events[:1] },
			with(whole, values{ITL: nil, MaxITL: nil, TPOT: {0}, TokensPerEvent: {6000}})},
		{"events out of one read share its instant", func(o *Outcome) { o.Events[1], o.Coalesced = o.Events[0], 1 },
			with(whole, values{ITL: {0, 350}, MaxITL: {350}})},
		{"tokens unknown", func(o *Outcome) { o.Tokens, o.InputTokens, o.OutputTokens = TokensUnknown, 0, 0 },
			with(whole, values{InputTokens: nil, OutputTokens: nil, TPOT: nil, TokensPerEvent: nil})},
		{"more events than tokens", func(o *Outcome) { o.OutputTokens = 2 },
			with(whole, values{OutputTokens: {2}, TPOT: {350}, TokensPerEvent: {666}})},
		{"not streamed", func(o *Outcome) { o.Streamed, o.Events, o.FirstAnswer = false, nil, None },
			with(whole, values{TTFT: nil, TTFTService: nil, TTFO: nil, ITL: nil, MaxITL: nil, TPOT: nil, TokensPerEvent: nil})},
		{"answered before the request was sent in full", func(o *Outcome) { o.FirstByte = 1120 * us },
			with(whole, values{Wait: {0}, Receive: {880}})},
		{"name looked up and TLS", func(o *Outcome) { o.Lookup, o.Handshake = 30999, 50000 }, with(whole, values{DNS: {30}, TLS: {50}})},
		{"dispatched before it was due", func(o *Outcome) { o.Due = 1020 * us },
			with(whole, values{Lateness: {0}, TTFT: {480}, TTFO: {480}, E2E: {980}})},
		{"rounded down", func(o *Outcome) { o.Dispatched += 999 }, with(whole, values{Lateness: {10}, Connect: {99}, TTFTService: {489}, E2EService: {989}})},
		{"failed in the middle of the stream", func(o *Outcome) { o.Class, o.End = ClassReset, 1700*us },
			values{Lateness: {10}, Connect: {100}, E2EFailed: {700}}},
		{"failed on a new connection with TLS", func(o *Outcome) { o.Class, o.Handshake = ClassReset, 50000 },
			values{Lateness: {10}, Connect: {100}, TLS: {50}, E2EFailed: {1000}}},
		{"failed to connect", func(o *Outcome) {
			o.Class, o.NewConnection, o.Connected, o.Sent, o.FirstByte, o.Events = ClassConnect, false, None, None, None, nil
		}, values{Lateness: {10}, E2EFailed: {1000}}},
		{"failed before it was dispatched", func(o *Outcome) { o.Class, o.Dispatched, o.Connected = ClassRefused, None, None },
			values{E2EFailed: {1000}}},
		{"canceled in the middle of the stream", func(o *Outcome) { o.Class = ClassCanceled },
			values{Lateness: {10}, Connect: {100}}},
		{"stamped by the kernel", stamped, with(whole, values{ReadLag: {20, 10, 40, 5}})},
		{"stamped, and that is asked for", func(o *Outcome) { stamped(o); o.Wire = true },
			with(whole, values{ReadLag: {20, 10, 40, 5}, TTFTWire: {480}, ITLWire: {70, 285}})},
		{"content in the first read and twice in the second", func(o *Outcome) {
			stamped(o)
			o.Events[0], o.Stamps[0] = o.FirstByte, o.FirstByteStamp
			o.Events[2], o.Stamps[2], o.FirstAnswer = o.Events[1], o.Stamps[1], o.FirstByte
			o.Wire = true
		}, with(whole, values{
			ReadLag: {20, 40}, TTFT: {430}, TTFTService: {420}, TTFO: {430}, ITL: {170, 0}, MaxITL: {170}, TPOT: {34},
			TTFTWire: {400}, ITLWire: {150, 0},
		})},
		{"a stamp is missing", func(o *Outcome) { stamped(o); o.Stamps[1], o.FirstByteStamp, o.Wire = None, None, true },
			with(whole, values{ReadLag: {10, 5}, TTFTWire: {480}})},
		{"no stamps, and they are asked for", func(o *Outcome) { o.Wire = true }, whole},
		{"stamps of the first byte alone", func(o *Outcome) { o.FirstByteStamp, o.Wire = 1429*us, true }, with(whole, values{ReadLag: {1}})},
		{"stamped and failed", func(o *Outcome) { stamped(o); o.Class, o.Wire = ClassReset, true },
			values{Lateness: {10}, Connect: {100}, E2EFailed: {1000}, ReadLag: {20, 10, 40, 5}}},
		{"stamped and canceled", func(o *Outcome) { stamped(o); o.Class, o.Wire = ClassCanceled, true },
			values{Lateness: {10}, Connect: {100}, ReadLag: {20, 10, 40, 5}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := values{}
			exchange(c.change).Values(func(s Series, v uint64) { got[s] = append(got[s], v) })
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("want -, got +:\n%s", d)
			}
		})
	}
}

// with changes some series of v; nil takes one out.
func with(v, changes values) values {
	out := values{}
	for s, list := range v {
		out[s] = list
	}
	for s, list := range changes {
		if list == nil {
			delete(out, s)
		} else {
			out[s] = list
		}
	}
	return out
}

func TestValuesAllocatesNothing(t *testing.T) {
	o := exchange(func(o *Outcome) { stamped(o); o.Wire = true })
	var sum uint64
	if n := testing.AllocsPerRun(100, func() { o.Values(func(_ Series, v uint64) { sum += v }) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMicros(t *testing.T) {
	for ns, want := range map[int64]uint64{-1 << 63: 0, -1: 0, 0: 0, 999: 0, 1000: 1, 1999: 1, 1<<63 - 1: 9223372036854775} {
		if got := Micros(ns); got != want {
			t.Errorf("Micros(%d) = %d, want %d", ns, got, want)
		}
	}
}

func TestResetKeepsBuffers(t *testing.T) {
	o := exchange(func(*Outcome) {})
	o.Body = append(o.Body, "x"...)
	stamped(o)
	events, stamps, body := cap(o.Events), cap(o.Stamps), cap(o.Body)
	o.Reset()
	if cap(o.Events) != events || cap(o.Stamps) != stamps || cap(o.Body) != body || len(o.Events)+len(o.Stamps)+len(o.Body) != 0 {
		t.Error("the buffers are gone")
	}
	if slices.Contains([]bool{o.Dispatched.Reached(), o.Connected.Reached(), o.Sent.Reached(), o.FirstByte.Reached(), o.End.Reached(), o.FirstAnswer.Reached(), o.FirstByteStamp.Reached(), o.FirstToken().Reached(), o.LastToken().Reached()}, true) {
		t.Error("an instant is still reached")
	}
}

func TestFirstFailureStands(t *testing.T) {
	var o Outcome
	o.Reset()
	o.Fail(5, ClassReset, "broken")
	o.Fail(9, ClassTotalTimeout, "late")
	if o.Class != ClassReset || o.Err != "broken" || o.End != 5 || !o.Failed() || o.Succeeded() || o.Canceled() {
		t.Errorf("got %q, %q, %d", o.Class, o.Err, o.End)
	}
}

func TestIDInText(t *testing.T) {
	for _, c := range []struct {
		id   ID
		want string
	}{
		{ID{Number: 17}, "17"},
		{ID{Number: 4, Slot: 3, Epoch: 1}, "3.1.4"},
	} {
		if got := string(c.id.AppendTo(nil)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.id, got, c.want)
		}
	}
}

func TestCleanErr(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"refused", "refused"},
		{"a\xffb", "a\uFFFDb"},
		{strings.Repeat("x", MaxErr), strings.Repeat("x", MaxErr)},
		{strings.Repeat("x", MaxErr) + "y", strings.Repeat("x", MaxErr)},
		{strings.Repeat("x", MaxErr-1) + "é", strings.Repeat("x", MaxErr-1)},
		{strings.Repeat("\xff", 1) + strings.Repeat("é", MaxErr), "\uFFFD" + strings.Repeat("é", (MaxErr-3)/2)},
	} {
		if got := CleanErr(c.in); got != c.want {
			t.Errorf("%d bytes become %d: %q", len(c.in), len(got), got)
		}
	}
}
