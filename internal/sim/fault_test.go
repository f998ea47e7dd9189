package sim

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseFault(t *testing.T) {
	for text, want := range map[string]Fault{
		"reset:p=0.01,after=5":                       {Kind: KindReset, P: 0.01, After: 5},
		"freeze:for=1s,every=10s":                    {Kind: KindFreeze, P: 1, For: time.Second, Every: 10 * time.Second},
		"status:p=0.02,code=429,retry_after=1s":      {Kind: KindStatus, P: 0.02, Code: 429, RetryAfter: time.Second},
		"status":                                     {Kind: KindStatus, P: 1, Code: 500},
		"slow_header:for=2s":                         {Kind: KindSlowHeader, P: 1, For: 2 * time.Second},
		"slow-header: for=2s , p=0.5":                {Kind: KindSlowHeader, P: 0.5, For: 2 * time.Second},
		"endless:bytes=4MiB,after=0":                 {Kind: KindEndless, P: 1, Bytes: 4 << 20},
		"empty:done=true":                            {Kind: KindEmpty, P: 1, Done: true},
		"truncated":                                  {Kind: KindTruncated, P: 1, After: 1},
		"hang:from=100,count=3":                      {Kind: KindHang, P: 1, From: 100, Count: 3},
		"stall:for=1s,every=10s,lasting=2s,at=500ms": {Kind: KindStall, P: 1, After: 1, For: time.Second, Every: 10 * time.Second, Lasting: 2 * time.Second, At: 500 * time.Millisecond},
		"error:code=503":                             {Kind: KindError, P: 1, After: 1, Code: 503},
		"wrong-key":                                  {Kind: KindWrongKey, P: 1},
		"refused:at=5s,lasting=1s":                   {Kind: KindRefused, P: 1, At: 5 * time.Second, Lasting: time.Second},
	} {
		got, err := ParseFault(text)
		if err != nil || got != want {
			t.Errorf("ParseFault(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseFaultRefuses(t *testing.T) {
	for text, want := range map[string][]string{
		"":                             {`"" is none of status, refused`},
		"crash":                        {`"crash" is none of`},
		"reset:p=2":                    {"p: 2 is not between 0 and 1"},
		"reset:p=NaN":                  {"p: NaN is not between 0 and 1"},
		"reset:p=x,after=y,code=5":     {`"x" cannot be read (a probability`, `"y" cannot be read (a whole number`, `reset has no parameter "code"`},
		"reset:after":                  {`after: "" cannot be read`},
		"status:code=200":              {"code: 200 is not between 400 and 599"},
		"freeze:for=1s,every=1s":       {"every=1s wants for between 0s and it"},
		"freeze:every=1s":              {"every=1s wants for", "for: a duration above zero is wanted"},
		"freeze:for=1s,p=0.5":          {`freeze has no parameter "p"; it has for, every, at`},
		"stall":                        {"for: a duration above zero is wanted, as for=1s"},
		"hang:every=5s":                {"every=5s wants lasting between"},
		"slow-header:for=30h":          {"is not between 0s and 24h"},
		"endless:bytes=2GiB":           {"bytes: 2147483648 is not between"},
		"endless:bytes=-1":             {"bytes: -1 is not between"},
		"endless:bytes=99999999999GiB": {"cannot be read (a size"},
		"empty:done=maybe":             {"true or false is wanted"},
		"truncated:after=-1":           {"after: -1 is not between"},
	} {
		_, err := ParseFault(text)
		if err == nil {
			t.Errorf("ParseFault(%q) is taken", text)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("ParseFault(%q): %v; want %q in it", text, err, w)
			}
		}
	}
}

// FuzzParseFault: whatever is taken reads back from its own text.
func FuzzParseFault(f *testing.F) {
	f.Add("reset:p=0.01,after=5")
	f.Add("freeze:for=1s,every=10s,at=3s")
	f.Add("endless:bytes=1KiB,count=2,lasting=1s")
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := ParseFault(text)
		if err != nil {
			return
		}
		again, err := ParseFault(fault.String())
		if err != nil || again != fault {
			t.Fatalf("%q became %q, which reads as %+v, %v", text, fault.String(), again, err)
		}
	})
}

func TestFaultMoment(t *testing.T) {
	second := int64(time.Second)
	f := Fault{Kind: KindHang, P: 1, From: 2, At: time.Second, Every: 10 * time.Second, Lasting: 3 * time.Second}
	for _, c := range []struct {
		n    uint64
		t    int64
		want bool
	}{
		{1, 2 * second, false}, {2, 2 * second, true}, {2, second - 1, false}, {2, second, true},
		{9, 4 * second, false}, {9, 11 * second, true}, {9, 14*second - 1, true}, {9, 14 * second, false},
	} {
		if got := f.moment(c.n, c.t); got != c.want {
			t.Errorf("request %d at %s: %v, want %v", c.n, time.Duration(c.t), got, c.want)
		}
	}
	f.Every = 0
	if f.moment(2, 11*second) {
		t.Error("a single moment came again")
	}
	f.Lasting = 0
	if !f.moment(2, 1000*second) {
		t.Error("a moment without end has ended")
	}
}

// TestFaultDraws: the share of hits is the probability, draws of two faults are independent, and
// a seed repeats them.
func TestFaultDraws(t *testing.T) {
	f := Fault{Kind: KindReset, P: 0.1}
	const n = 100_000
	first, both, repeated := 0, 0, 0
	for i := range uint64(n) {
		a, b := f.hits(1, mix(i), 0), f.hits(1, mix(i), 1)
		if a {
			first++
		}
		if a && b {
			both++
		}
		if a == f.hits(1, mix(i), 0) {
			repeated++
		}
	}
	if first < n*9/100 || first > n*11/100 {
		t.Errorf("%d of %d hit at p = 0.1", first, n)
	}
	if both < n*8/1000 || both > n*12/1000 {
		t.Errorf("%d of %d hit twice at p = 0.1 each", both, n)
	}
	if repeated != n {
		t.Errorf("%d of %d draws repeat", repeated, n)
	}
	if !(&Fault{P: 1}).hits(0, 0, 0) || (&Fault{P: 0}).hits(0, 0, 0) {
		t.Error("p = 1 must hit and p = 0 must not")
	}
}

func TestCalendar(t *testing.T) {
	s := int64(time.Second)
	periodic := calendar{at: 10 * s, every: 10 * s, length: s}
	once := calendar{at: 5 * s, length: 2 * s}
	for _, c := range []struct {
		name                  string
		calendar              calendar
		t, working, resume, n int64
	}{
		{"none", calendar{}, 7 * s, 7 * s, 7 * s, 0},
		{"before", periodic, 10*s - 1, 10*s - 1, 10*s - 1, 0},
		{"begin", periodic, 10 * s, 10 * s, 11 * s, 1},
		{"within", periodic, 10*s + s/2, 10 * s, 11 * s, 1},
		{"end", periodic, 11 * s, 10 * s, 11 * s, 1},
		{"after", periodic, 12 * s, 11 * s, 12 * s, 1},
		{"second", periodic, 20*s + 1, 19 * s, 21 * s, 2},
		{"after the second", periodic, 22 * s, 20 * s, 22 * s, 2},
		{"once, before", once, 5*s - 1, 5*s - 1, 5*s - 1, 0},
		{"once, within", once, 6 * s, 5 * s, 7 * s, 1},
		{"once, after", once, 100 * s, 98 * s, 100 * s, 1},
	} {
		if got := c.calendar.working(c.t); got != c.working {
			t.Errorf("%s: working %s, want %s", c.name, time.Duration(got), time.Duration(c.working))
		}
		if got := c.calendar.resume(c.t); got != c.resume {
			t.Errorf("%s: resume %s, want %s", c.name, time.Duration(got), time.Duration(c.resume))
		}
		if got := c.calendar.count(c.t); got != uint64(c.n) {
			t.Errorf("%s: %d freezes begun, want %d", c.name, got, c.n)
		}
	}
}

// TestCalendarProperties: working time never goes back or ahead of the wall, wall is its inverse,
// and work resumes at once outside a freeze and at its end within one.
func TestCalendarProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := calendar{
			at:     rapid.Int64Range(0, 50).Draw(t, "at"),
			length: rapid.Int64Range(1, 20).Draw(t, "length"),
		}
		if rapid.Bool().Draw(t, "periodic") {
			c.every = c.length + rapid.Int64Range(1, 20).Draw(t, "pause")
		}
		before := int64(0)
		for now := range int64(300) {
			w := c.working(now)
			if w < before || w > now || w-before > 1 {
				t.Fatalf("%+v: working time at %d is %d after %d", c, now, w, before)
			}
			before = w
			r := c.resume(now)
			if r < now || r > now+c.length || c.working(r) != w || c.resume(r) != r {
				t.Fatalf("%+v: at %d work resumes at %d", c, now, r)
			}
			if frozen := now >= c.at && (c.every == 0 && now < c.at+c.length || c.every > 0 && (now-c.at)%c.every < c.length); frozen != (r > now) {
				t.Fatalf("%+v: frozen at %d: %v, but work resumes at %d", c, now, frozen, r)
			}
			if c.working(c.wall(now)) != now {
				t.Fatalf("%+v: wall(%d) = %d, whose working time is %d", c, now, c.wall(now), c.working(c.wall(now)))
			}
		}
	})
}
