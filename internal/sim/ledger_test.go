package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestArrivalParse(t *testing.T) {
	for text, want := range map[string]bool{
		"hold/0/0": true, "a/b/c/17/2": true, "/1/0": true, "p/3.1.9/0": true, "p/18446744073709551615/4294967295": true,
		"": false, "hold": false, "hold/1": false, "hold/x/0": false, "hold/1/x": false, "hold/-1/0": false,
		"p/0.1.9/0": false, "p/1.9/0": false, "p/1.2.3.4/0": false, "p/18446744073709551616/0": false, "p/1/4294967296": false,
	} {
		a := newArrivalSet(10)
		key, ok := a.parse(text)
		if ok != want {
			t.Errorf("parse(%q) = %v", text, ok)
		}
		if ok && a.format(key) != text {
			t.Errorf("%q is listed as %q", text, a.format(key))
		}
	}
}

// FuzzArrival: nothing from a header panics, and what is remembered is listed.
func FuzzArrival(f *testing.F) {
	f.Add("run", "hold/17/0")
	f.Add("", "p/1.2.3/4")
	f.Fuzz(func(t *testing.T, run, arrival string) {
		a := newArrivalSet(10)
		a.note(run, arrival, 1)
		if n := len(a.list("")); n+int(a.unread) != 1 {
			t.Fatalf("%d listed and %d unread of 1", n, a.unread)
		}
	})
}

func TestArrivalsSorted(t *testing.T) {
	a := newArrivalSet(100)
	want := []string{"a/2/0", "a/10/0", "a/10/1", "b/1.1.0/0", "b/1.1.12/0", "b/1.2.0/0", "b/10.1.0/0"}
	for _, i := range []int{6, 2, 0, 5, 3, 1, 4} {
		a.note("r", want[i], 0)
	}
	var got []string
	for _, seen := range a.list("r") {
		got = append(got, seen.Arrival)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestArrivalsFull(t *testing.T) {
	a := newArrivalSet(2)
	for _, n := range []int{0, 1, 2, 1, 3} {
		a.note("r", fmt.Sprintf("p/%d/0", n), 0)
	}
	if r := a.truths()[0]; r.Arrivals != 2 || r.Requests != 3 || r.Duplicates != 1 || a.dropped != 2 {
		t.Errorf("%+v, %d dropped", r, a.dropped)
	}
	many := newArrivalSet(MaxArrivals)
	for i := range MaxRuns + 1 {
		many.note(fmt.Sprint(i), "p/0/0", 0)
	}
	if len(many.truths()) != MaxRuns || many.dropped != 1 {
		t.Errorf("%d runs, %d dropped", len(many.truths()), many.dropped)
	}
}

// TestArrivalDigests: they tell sets apart, whatever the order and the repeats.
func TestArrivalDigests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfNDistinct(rapid.Uint64Range(0, 50), 2, 20, rapid.ID[uint64]).Draw(t, "numbers")
		digest := func(list []uint64, body uint64) RunTruth {
			a := newArrivalSet(100)
			for _, n := range list {
				a.note("r", fmt.Sprintf("p/%d/0", n), n+body)
			}
			return a.truths()[0]
		}
		one := digest(numbers, 0)
		shuffled := rapid.Permutation(numbers).Draw(t, "order")
		two := digest(append(shuffled, shuffled[0]), 0)
		if one.Set != two.Set || one.Bodies != two.Bodies {
			t.Fatalf("%+v and %+v differ in order alone", one, two)
		}
		if fewer := digest(numbers[1:], 0); fewer.Set == one.Set {
			t.Fatal("one arrival fewer has the same digest")
		}
		if other := digest(numbers, 1); other.Set != one.Set || other.Bodies == one.Bodies {
			t.Fatal("other bodies must change the digest of the bodies alone")
		}
	})
}

// TestTimeline: the ring keeps the last ten minutes and forgets what it overtakes.
func TestTimeline(t *testing.T) {
	l := newLedger(0)
	at := func(d time.Duration) { l.tick(int64(d)) }
	at(0)
	at(99 * time.Millisecond)
	at(100 * time.Millisecond)
	at(450 * time.Millisecond)
	at(200 * time.Millisecond) // late to the lock
	if got := l.timeline(); got.FirstMillis != 0 || fmt.Sprint(got.Counts) != "[2 1 1 0 1]" {
		t.Errorf("%+v", got)
	}
	at(10*time.Minute + 100*time.Millisecond)
	got := l.timeline()
	if got.FirstMillis != 200 || len(got.Counts) != arrivalSlots || got.Counts[0] != 1 || got.Counts[2] != 1 || got.Counts[arrivalSlots-1] != 1 {
		t.Errorf("from %d ms, %d slots, %v", got.FirstMillis, len(got.Counts), got.Counts[:4])
	}
	at(0) // forgotten
	at(24 * time.Hour)
	var sum uint32
	for _, n := range l.timeline().Counts {
		sum += n
	}
	if sum != 1 {
		t.Errorf("%d requests in the last ten minutes, want 1", sum)
	}
}

// TestResetForgetsRequestsInProgress: one begun before a reset is not counted as ended after it.
func TestResetForgetsRequestsInProgress(t *testing.T) {
	l := newLedger(0)
	_, before, _ := l.begin(routeEcho, 0)
	l.clear(time.Now(), 0, 0)
	number, after, _ := l.begin(routeEcho, 0)
	if number != 0 {
		t.Errorf("numbering goes on at %d", number)
	}
	l.end(&ending{epoch: before, route: routeEcho})
	l.end(&ending{epoch: after, route: routeEcho})
	truth := l.truth(0, 0)
	if r := truth.Routes["echo"]; r.Begun != 1 || r.Completed != 1 || truth.InFlight != 0 || truth.InFlightMax != 2 {
		t.Errorf("%+v, %d in flight, %d at most", r, truth.InFlight, truth.InFlightMax)
	}
}

// FuzzAsk: no body panics, and what is understood has a length within bounds.
func FuzzAsk(f *testing.F) {
	f.Add([]byte(chatBody))
	f.Add([]byte(`{"prompt":["a b"],"n":1,"max_tokens":3}`))
	f.Add([]byte(`{"prompt":[1,2],"messages":[{"role":"x","content":[{"text":"y"},{}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, tokens, err := parseAsk(body)
		if err != nil {
			return
		}
		if tokens < 0 || tokens > MaxTokens {
			t.Fatalf("%d tokens", tokens)
		}
		for _, read := range []func(*promptReader) error{
			func(p *promptReader) error { return p.messages(a.Messages) },
			func(p *promptReader) error { return p.prompt(a.Prompt) },
		} {
			p := newPromptReader(true)
			if read(p) == nil && len(p.blocks) != p.tokens/prefixBlock {
				t.Fatalf("%d blocks of %d tokens", len(p.blocks), p.tokens)
			}
		}
	})
}

// TestPromptBlocks: prompts share the blocks before their first difference, and no others.
func TestPromptBlocks(t *testing.T) {
	blocks := func(role, text string) []uint64 {
		p := newPromptReader(true)
		p.role(role)
		p.text([]byte(text))
		return p.blocks
	}
	words := func(n int, last string) string {
		s := ""
		for range n {
			s += "w "
		}
		return s + last
	}
	a, b, c := blocks("user", words(40, "x")), blocks("user", words(20, "y")+" "+words(27, "")), blocks("system", words(40, "x"))
	if len(a) != 2 || len(b) != 3 || a[0] != b[0] || a[1] == b[1] || a[0] == c[0] || a[0] == a[1] {
		t.Errorf("%x\n%x\n%x", a, b, c)
	}
}
