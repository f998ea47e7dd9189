package sim

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drive carries an engine on until it is idle and tells of each token as "name@ms".
func drive(e *engine, names map[*sequence]string) string {
	var told []string
	for next := int64(0); next != idle; {
		var events []event
		events, next = e.step(next)
		for _, ev := range events {
			told = append(told, fmt.Sprintf("%s%d@%d", names[ev.seq], ev.produced, ev.at/int64(time.Millisecond)))
		}
	}
	return strings.Join(told, " ")
}

// ids names n blocks, shared by all who use the same base.
func ids(base uint64, n int) []uint64 {
	list := make([]uint64, n)
	for i := range list {
		list[i] = base + uint64(i)
	}
	return list
}

// TestEngineTables plays small cases whose times can be reckoned by hand.
func TestEngineTables(t *testing.T) {
	ms := time.Millisecond
	law := Batching{Step: 10 * ms, PerSequence: ms, PerPrompt: ms, Batch: 2, KV: 1000}
	cached := law
	cached.PerCached, cached.PerPrompt = ms, 0
	budget := law
	budget.ReadBudget = 4
	tight := law
	tight.KV = 20
	for _, c := range []struct {
		name string
		law  Batching
		seqs []sequence
		want string
	}{
		// one alone: 10 + 1 + 5 read, then 10 + 1
		{"alone", law, []sequence{{prompt: 5, output: 3}}, "a1@16 a2@27 a3@38"},
		// b comes while a's first step runs, so it is read in the next: 10 + 2 + 3
		{"joined", law, []sequence{{prompt: 5, output: 3}, {prompt: 3, output: 2}}, "a1@16 a2@31 b1@31 a3@43 b2@43"},
		// c waits for a place in the batch, which a leaves after its token
		{"batch full", law, []sequence{{prompt: 1, output: 2}, {prompt: 1, output: 3}, {prompt: 1, output: 1}},
			"a1@12 a2@25 b1@25 b2@38 c1@38 b3@49"},
		// K = prompt + the token in the making: 10 + 1 + 6, + 7, + 8
		{"cached tokens cost", cached, []sequence{{prompt: 5, output: 3}}, "a1@17 a2@35 a3@54"},
		// 10 prompt tokens by 4: three steps, 15 + 15 + 13
		{"read budget", budget, []sequence{{prompt: 10, output: 2}}, "a1@43 a2@54"},
		// b needs 12 of the 8 tokens left, so it waits for a; c would fit but is behind b; then 10 + 2 + 11
		{"cache full, first in first out", tight, []sequence{{prompt: 10, output: 2}, {prompt: 10, output: 2}, {prompt: 1, output: 1}},
			"a1@21 a2@32 b1@55 c1@55 b2@66"},
		// the two blocks of the prompt are read by a alone; of b the last token is read again
		{"prefix", law, []sequence{{prompt: 32, output: 2, blocks: ids(1, 2)}, {prompt: 32, output: 1, blocks: ids(1, 2)}},
			"a1@43 a2@56 b1@56"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, names := newEngine(c.law), map[*sequence]string{}
			for i := range c.seqs {
				names[&c.seqs[i]] = string(rune('a' + i))
				if !e.submit(&c.seqs[i]) {
					t.Fatal("queue full")
				}
			}
			if got := drive(e, names); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if e.used() != 0 {
				t.Errorf("%d tokens still reserved", e.used())
			}
		})
	}
}

// TestEngineLateCaller: whoever steps late gets the same tokens with the same times.
func TestEngineLateCaller(t *testing.T) {
	law := Batching{Step: 10 * time.Millisecond, Batch: 4, KV: 100}
	prompt, late := newEngine(law), newEngine(law)
	a, b := &sequence{prompt: 5, output: 4}, &sequence{prompt: 5, output: 4}
	prompt.submit(a)
	late.submit(b)
	want := drive(prompt, map[*sequence]string{a: "s"})
	late.step(3)
	if got := drive(late, map[*sequence]string{b: "s"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEngineQueueFull(t *testing.T) {
	e := newEngine(Batching{Step: time.Millisecond, Batch: 1, KV: 100, Queue: 1})
	first, second, third := &sequence{prompt: 1, output: 1}, &sequence{prompt: 1, output: 1}, &sequence{prompt: 1, output: 1}
	if !e.submit(first) || !e.submit(second) {
		t.Fatal("one running and one waiting must be taken")
	}
	if e.submit(third) {
		t.Fatal("a second one waiting was taken")
	}
	e.cancel(second)
	if fourth := (&sequence{prompt: 1, output: 1}); !e.submit(fourth) {
		t.Fatal("the place of one that left is not free")
	}
}

func TestPrefixCacheEvictsTailsFirst(t *testing.T) {
	e := newEngine(Batching{Step: time.Millisecond, Batch: 1, KV: 64})
	run := func(s *sequence) {
		t.Helper()
		e.submit(s)
		drive(e, nil)
		if s.produced != s.output {
			t.Fatalf("%d of %d tokens", s.produced, s.output)
		}
	}
	run(&sequence{prompt: 48, output: 1, blocks: ids(1, 3)})
	if e.prefix.idleCount != 3 {
		t.Fatalf("%d blocks kept, want 3", e.prefix.idleCount)
	}
	run(&sequence{prompt: 16, output: 16, blocks: ids(100, 1)}) // needs 32 of 64: one of three blocks must go
	hit, _ := e.prefix.look(ids(1, 3))
	if hit != 2 {
		t.Errorf("%d leading blocks kept, want 2: the tail goes first", hit)
	}
	again := &sequence{prompt: 32, output: 1, blocks: ids(1, 2)}
	run(again)
	if again.cached != 31 {
		t.Errorf("%d tokens cached, want all but the last of 32", again.cached)
	}
}

// world is an engine under random orders, with what it must hold to.
type world struct {
	t         *rapid.T
	e         *engine
	now       int64
	all       []*sequence
	canceled  map[*sequence]bool
	lastToken map[*sequence]int64
	lastEvent int64
}

func (w *world) step(now int64) int64 {
	events, next := w.e.step(now)
	w.now = max(w.now, now)
	for _, ev := range events {
		if ev.at < w.lastEvent || ev.at > now {
			w.t.Fatalf("token at %d after one at %d, stepped to %d", ev.at, w.lastEvent, now)
		}
		w.lastEvent = ev.at
		if before, seen := w.lastToken[ev.seq]; seen && ev.at <= before {
			w.t.Fatalf("two tokens of one sequence at %d and %d", before, ev.at)
		}
		w.lastToken[ev.seq] = ev.at
		if w.canceled[ev.seq] {
			w.t.Fatal("a token for a sequence that left")
		}
	}
	if next <= now {
		w.t.Fatalf("next moment %d is not after %d", next, now)
	}
	w.check()
	return next
}

func (w *world) check() {
	e := w.e
	if n := e.used() + e.prefix.idleCount*prefixBlock; n > e.law.KV {
		w.t.Fatalf("%d tokens in a cache of %d", n, e.law.KV)
	}
	if len(e.running) > e.law.Batch {
		w.t.Fatalf("%d in a batch of %d", len(e.running), e.law.Batch)
	}
	if e.prefix.live+e.prefix.idleCount != len(e.prefix.blocks) {
		w.t.Fatalf("%d live and %d idle of %d blocks", e.prefix.live, e.prefix.idleCount, len(e.prefix.blocks))
	}
	waiting, behind := 0, false
	for _, s := range w.all {
		if s.state == stateQueued {
			waiting++
			behind = true
		} else if behind && !w.canceled[s] && s.state >= stateRunning {
			w.t.Fatal("a sequence overtook one that came first")
		}
	}
	if waiting != e.queued {
		w.t.Fatalf("%d wait, the engine says %d", waiting, e.queued)
	}
}

// TestEngineProperties: every sequence ends with all its tokens unless it left, first in is first
// served, times rise, and the cache never holds more than it can.
func TestEngineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		law := Batching{
			Step:        time.Duration(rapid.IntRange(1, 5).Draw(t, "step")) * time.Millisecond,
			PerSequence: 100 * time.Microsecond, PerCached: time.Microsecond, PerPrompt: 10 * time.Microsecond,
			Batch:      rapid.IntRange(1, 6).Draw(t, "batch"),
			KV:         rapid.IntRange(120, 400).Draw(t, "kv"),
			ReadBudget: rapid.SampledFrom([]int{0, 1, 16, 64}).Draw(t, "budget"),
		}
		w := &world{t: t, e: newEngine(law), canceled: map[*sequence]bool{}, lastToken: map[*sequence]int64{}}
		for range rapid.IntRange(1, 60).Draw(t, "orders") {
			switch rapid.IntRange(0, 4).Draw(t, "order") {
			case 0, 1:
				prompt := rapid.IntRange(1, 100).Draw(t, "prompt")
				s := &sequence{prompt: prompt, output: rapid.IntRange(1, 20).Draw(t, "output")}
				s.blocks = ids(uint64(rapid.IntRange(0, 2).Draw(t, "group"))*1000, rapid.IntRange(0, prompt/prefixBlock).Draw(t, "blocks"))
				w.step(w.now)
				w.e.submit(s)
				w.all = append(w.all, s)
			case 2:
				if len(w.all) > 0 {
					s := rapid.SampledFrom(w.all).Draw(t, "leaver")
					w.canceled[s] = w.canceled[s] || s.state != stateEnded
					w.e.cancel(s)
				}
			default:
				w.step(w.now + rapid.Int64Range(0, int64(20*time.Millisecond)).Draw(t, "pass"))
			}
			w.check()
		}
		for next := w.step(w.now); next != idle; next = w.step(next) {
		}
		for _, s := range w.all {
			if !w.canceled[s] && s.produced != s.output {
				t.Fatalf("a sequence ended with %d of %d tokens", s.produced, s.output)
			}
		}
		if w.e.used() != 0 || w.e.queued != 0 || len(w.e.running) != 0 {
			t.Fatalf("idle with %d tokens reserved, %d waiting, %d running", w.e.used(), w.e.queued, len(w.e.running))
		}
	})
}

// TestCapacityIsTrue holds the formulas of Capacity against the engine under a queue that never empties.
func TestCapacityIsTrue(t *testing.T) {
	for _, c := range []struct {
		preset, change string
		input, output  int
		bound          string
	}{
		{"small", "", 220, 128, "batch"},
		{"small", "kv=10000", 220, 128, "kv"},
		{"small", "budget=64", 256, 16, "prompt"},
		{"large", "", 220, 128, "kv"},
		{"large", "kv=1000000", 60, 300, "batch"},
		{"fragile", "", 220, 64, "batch"},
		{"fragile", "", 2000, 20, "kv"},
	} {
		cfg, err := Preset(c.preset)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Batching, err = ParseBatching(cfg.Batching, c.change+",queue=0"); err != nil {
			t.Fatal(err)
		}
		k := cfg.Capacity(float64(c.input), float64(c.output))
		if k.Bound != c.bound {
			t.Errorf("%s %s %d/%d: bound by %s, want %s", c.preset, c.change, c.input, c.output, k.Bound, c.bound)
		}
		got := saturate(newEngine(cfg.Batching), c.input, c.output)
		if math.Abs(got/k.Tokens-1) > 0.02 {
			t.Errorf("%s %s %d/%d: formula says %.1f tokens/s, engine makes %.1f", c.preset, c.change, c.input, c.output, k.Tokens, got)
		}
	}
}

// saturate is the output tokens per second of an engine whose queue never empties.
func saturate(e *engine, input, output int) float64 {
	const warm, measured = 2_000, 6_000
	var tokens int
	var start int64
	submit := func() { e.submit(&sequence{prompt: input, output: output}) }
	submit()
	for i := range warm + measured {
		for e.queued < 4 {
			submit()
		}
		if i == warm {
			start, tokens = e.now, 0
		}
		events, _ := e.step(e.stepEnd)
		tokens += len(events)
	}
	return float64(tokens) / (float64(e.now-start) / 1e9)
}

func BenchmarkEngineStep(b *testing.B) {
	cfg, err := Preset("large")
	if err != nil {
		b.Fatal(err)
	}
	cfg.Batching.KV = math.MaxInt
	e := newEngine(cfg.Batching)
	for range 200 {
		e.submit(&sequence{prompt: 200, output: math.MaxInt32})
		e.step(e.stepEnd)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.step(e.stepEnd)
	}
}
