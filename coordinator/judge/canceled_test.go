package judge

import (
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// What was canceled has waited so long at least; where that is no less than the drain of 30 s, it
// decides every bound up to the drain.
func TestCanceled(t *testing.T) {
	within := func(metric string, bound time.Duration) *pb.Objective {
		return mergetest.Objective("p99("+metric+") < bound", 0.99, metric, float64(bound.Microseconds()))
	}
	late := func(f func(*answer)) func(*answer) {
		return func(x *answer) { f(x); x.Lateness = 900 * time.Microsecond }
	}
	const bound, drain = 2 * time.Second, 30 * time.Second
	tests := map[string]struct {
		answer func(arrival) answer
		o      *pb.Objective
		want   pb.Verdict
		exit   uint32
		reason string // its beginning
	}{
		"a hung target": {everything(hung), within("ttft", bound), fail, 99,
			"p99(ttft) has no finite value: 1,000 of 1,000 requests had no first token when the drain time was over, and that counts as infinitely slow; the bound is 2 s"},
		"service":                          {everything(hung), within("ttft_service", bound), fail, 99, "p99(ttft_service) has no finite value: 1,000 of 1,000 requests had no first"},
		"first answer":                     {everything(hung), within("ttfo", bound), fail, 99, "p99(ttfo) has no finite value"},
		"end":                              {everything(hung), within("e2e", bound), fail, 99, "p99(e2e) has no finite value: 1,000 of 1,000 requests had no end"},
		"session":                          {everything(hung), within("session", bound), fail, 99, "p99(session) has no finite value"},
		"a few answers":                    {every(50, hung), within("ttft", bound), fail, 99, "p99(ttft) has no finite value: 20 of 1,000 requests had"},
		"fewer than count":                 {every(200, hung), within("ttft", bound), pass, 0, ""},
		"a bound as long as the drain":     {everything(hung), within("ttft", drain), fail, 99, ""},
		"a bound longer than the drain":    {everything(hung), within("ttft", drain+1000), inconclusive, 97, "nothing was measured for p99(ttft): 1,000 arrivals have no answer (1,000 canceled)"},
		"first answer, longer":             {everything(hung), within("ttfo", drain+1000), inconclusive, 97, ""},
		"end, longer":                      {everything(hung), within("e2e", drain+1000), inconclusive, 97, ""},
		"service, shorter by the lateness": {everything(late(hung)), within("ttft_service", drain-901*time.Microsecond), fail, 99, ""},
		"service, longer than the rest":    {everything(late(hung)), within("ttft_service", drain-900*time.Microsecond), inconclusive, 97, ""},
		"content had come":                 {everything(canceled), within("ttft", bound), inconclusive, 97, "nothing was measured for p99(ttft)"},
		"content had come, end":            {everything(canceled), within("e2e", bound), fail, 99, ""},
		"other series":                     {everything(hung), within("tpot", bound), inconclusive, 97, ""},
		"failed or silent": {func(a arrival) answer {
			x := fast(a)
			broken(&x)
			if a.Number%2 == 0 {
				hung(&x)
			}
			return x
		}, within("ttft", bound), fail, 99, "p99(ttft) has no finite value: 1,000 of 1,000 requests failed or had no first token when"},
		"cut off":      {everything(cut), within("ttft", bound), inconclusive, 97, "nothing was measured for p99(ttft): 1,000 arrivals have no answer (1,000 canceled)"},
		"cut off, end": {everything(cut), within("e2e", bound), inconclusive, 97, ""},
		"most cut off, too few waited": {func(a arrival) answer {
			x := fast(a)
			cut(&x)
			if a.Number < 5 {
				hung(&x)
			}
			return x
		}, within("ttft", bound), inconclusive, 97, "nothing was measured for p99(ttft): 995 arrivals have no answer (995 canceled)"},
		"most cut off, too few waited, end": {func(a arrival) answer {
			x := fast(a)
			cut(&x)
			if a.Number < 5 {
				hung(&x)
			}
			return x
		}, within("e2e", bound), inconclusive, 97, ""},
		"most cut off, enough waited": {func(a arrival) answer {
			x := fast(a)
			cut(&x)
			if a.Number < 50 {
				hung(&x)
			}
			return x
		}, within("ttft", bound), fail, 99, "p99(ttft) has no finite value: 50 of 1,000 requests had"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := play(t, open(100, 10*time.Second, test.o), test.answer).summary()
			got := s.GetSlo()[0]
			if got.GetVerdict() != test.want || s.GetExitStatus() != test.exit {
				t.Errorf("verdict %v, exit status %d; want %v and %d", got.GetVerdict(), s.GetExitStatus(), test.want, test.exit)
			}
			if !strings.HasPrefix(got.GetReason(), test.reason) {
				t.Errorf("the reason is %q, want %q", got.GetReason(), test.reason)
			}
		})
	}
}

// A stop that cancels at once proves nothing of requests that had waited a second; of those that had
// waited the drain out it proves as much as the end of the drain does.
func TestCanceledByAStop(t *testing.T) {
	for name, test := range map[string]struct {
		after time.Duration // of the stop
		want  pb.Verdict
	}{
		"after a second":  {time.Second, inconclusive},
		"after the drain": {40 * time.Second, fail},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(100, time.Minute, mergetest.Objective("p99(ttft) < 500ms", 0.99, "ttft", 5e5))
			h := mergetest.Header(s, "a1", "a2")
			sent, err := mergetest.Play(h, test.after, func(a arrival) answer {
				return answer{Class: "canceled", E2E: test.after - time.Duration(a.Due)}
			})
			if err != nil {
				t.Fatal(err)
			}
			g := &game{t: t, header: h, sent: sent, events: []*pb.RunEvent{
				mergetest.Event(startedKind, 0), mergetest.Event(stopKind, test.after), mergetest.Ended(test.after+time.Second, aborted),
			}}
			sum := g.summary()
			if got := sum.GetSlo()[0]; got.GetVerdict() != test.want || sum.GetExitStatus() != ExitStopped {
				t.Errorf("verdict %v, exit status %d; want %v and %d: %s", got.GetVerdict(), sum.GetExitStatus(), test.want, ExitStopped, got.GetReason())
			}
		})
	}
}
