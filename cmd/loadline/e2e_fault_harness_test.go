package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The tests in e2e_fault_*_test.go attack real processes: a coordinator and agents with their real leases of 5 s, real
// NATS and gRPC through a proxy that breaks, and signals. They mostly wait, so all go at once.

// slack is what a starved machine may add to a bound of the protocol. The figures themselves are logged.
const slack = 1500 * time.Millisecond

// arrivalAt is an arrival as it reached the target.
type arrivalAt struct {
	name string // phase/number
	at   time.Time
}

// tally is a target that knows which arrivals reached it, and when.
type tally struct {
	*httptest.Server
	mu   sync.Mutex
	seen []arrivalAt
}

// serveTally serves a tally until the test ends.
func serveTally(t *testing.T) *tally {
	w := &tally{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		at, header := time.Now(), r.Header.Get("X-Loadline-Arrival")
		w.mu.Lock()
		w.seen = append(w.seen, arrivalAt{strings.TrimSuffix(header, "/0"), at})
		w.mu.Unlock()
		if r.URL.Path == "/slow" {
			time.Sleep(60 * time.Millisecond) // so that users do not ask all the time
		}
	}))
	t.Cleanup(w.Close)
	return w
}

// all are the arrivals so far, in the order in which they came.
func (w *tally) all() []arrivalAt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// last is when the last arrival came.
func (w *tally) last() time.Time {
	all := w.all()
	if len(all) == 0 {
		return time.Time{}
	}
	return all[len(all)-1].at
}

// of are the arrivals of one open phase, by number: when each came.
func (w *tally) of(t *testing.T, phase string) map[uint64][]time.Time {
	t.Helper()
	seen := map[uint64][]time.Time{}
	for _, a := range w.all() {
		number, ok := strings.CutPrefix(a.name, phase+"/")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Errorf("arrival %q: %v", a.name, err)
		}
		seen[n] = append(seen[n], a.at)
	}
	return seen
}

// between counts the arrivals of a stretch of time.
func (w *tally) between(from, to time.Time) (n int) {
	for _, a := range w.all() {
		if !a.at.Before(from) && a.at.Before(to) {
			n++
		}
	}
	return n
}

// scenario plays an open load of one phase, "main", against the tally.
func (w *tally) scenario(rate, seconds int, arrivals, more string) files {
	return files{"s.yaml": fmt.Sprintf(`name: cluster
targets: [{name: t, url: "%s", protocol: http}]
workloads: [{name: w, target: t, http: {method: GET, path: /}}]
load: [{name: main, open: {rate: %d, arrivals: %s}, duration: %ds}]
drain: 1s
%s`, w.URL, rate, arrivals, seconds, more)}
}

// busiest is the highest number of arrivals in any 100 ms.
func (w *tally) busiest() (most int) {
	all := w.all()
	for i, first := 0, 0; i < len(all); i++ {
		for all[i].at.Sub(all[first].at) >= 100*time.Millisecond {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// compare holds the tally's own count against the report: each arrival at most once, and each that is absent missed,
// or in a stretch that the report names. It returns the number of absent ones. A stop reaches each agent at a moment of
// its own, so what was due until then has gaps, and is held to the counts alone.
func (w *tally) compare(t *testing.T, s *pb.Summary) uint64 {
	t.Helper()
	stopped := s.GetState() == pb.SummaryState_SUMMARY_STATE_ABORTED
	a, times := s.GetArrivals(), map[uint64]int{}
	for _, arrival := range w.all() {
		n, err := strconv.ParseUint(strings.TrimPrefix(arrival.name, "main/"), 10, 64)
		if err != nil || n >= a.GetDue() && !stopped {
			t.Errorf("arrival %q of %d: %v", arrival.name, a.GetDue(), err)
		}
		if times[n]++; times[n] > 1 {
			t.Errorf("arrival %d came %d times", n, times[n])
		}
	}
	var absent, outside, lost uint64
	for n := range a.GetDue() {
		if times[n] > 0 {
			continue
		}
		absent++
		if !inStretch(s, n) {
			outside++
		}
	}
	for _, agent := range s.GetAgents() {
		for _, stretch := range agent.GetLost() {
			lost += stretch.GetArrivals()
		}
	}
	told := a.GetMissed() + a.GetShed() + s.GetSessions().GetCanceled()
	if !stopped && (outside > told || absent > told+a.GetLost() || lost != a.GetLost()) {
		t.Errorf("%d absent, %d of them in no stretch, %d lost by the stretches: %v", absent, outside, lost, a)
	}
	// What was canceled may have been so before it was sent.
	if seen := uint64(len(times)); seen+s.GetSessions().GetCanceled() < a.GetStarted() || seen > a.GetStarted()+a.GetLost() {
		t.Errorf("the target saw %d, the report says %v", seen, a)
	}
	t.Logf("due %d, started %d, missed %d, lost %d; seen %d; %v", a.GetDue(), a.GetStarted(), a.GetMissed(), a.GetLost(), len(times), s.GetState())
	return absent
}

// inStretch reports whether an arrival lies in a stretch that is reported as lost.
func inStretch(s *pb.Summary, n uint64) bool {
	for _, agent := range s.GetAgents() {
		for _, stretch := range agent.GetLost() {
			if n >= stretch.GetFirstArrival() && n <= stretch.GetLastArrival() {
				return true
			}
		}
	}
	return false
}

// play begins the run and waits until the tally has seen load.
func (c *clusterOf) play(t *testing.T, w *tally, more ...string) *played {
	t.Helper()
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process = start(t, c.dir, nil, c.client(append([]string{"run", "s.yaml", "--plain", "--out", "r"}, more...)...)...)
	p.until(t, "there is load", func() bool { return len(w.all()) > 10 })
	return p
}

// end waits for the run's end and reads what it has left.
func (p *played) end(t *testing.T) *pb.Summary {
	t.Helper()
	p.wait()
	p.read(t)
	return p.summary
}

// story prints what every process has logged, where the test has failed.
func (c *clusterOf) story(t *testing.T) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		t.Logf("coordinator:\n%s", &c.coordinator.err)
		for i, p := range c.agents {
			t.Logf("agent %d:\n%s", i+1, &p.err)
		}
	})
}

// stretched is a time that scripts/torture --processes lets last longer.
func stretched(short, long time.Duration) time.Duration {
	if os.Getenv("LOADLINE_TORTURE_PROCESSES") != "" {
		return long
	}
	return short
}

// tortured is a number that scripts/torture --processes was given; else the one that `go test` takes.
func tortured(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: give a whole number of at least 1", variable, text)
	}
	return n
}

// spread says how times lie: the median, the 99th percentile and the greatest.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(percent int) time.Duration {
		return sorted[(len(sorted)*percent+99)/100-1].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v", at(50), at(99), at(100))
}

// servesAt is what a coordinator says once it serves.
var servesAt = regexp.MustCompile(`coordinator at (\S+)\nbus at (\S+)\n`)

// again starts a coordinator anew in the same folder, at the same addresses.
func (c *clusterOf) again(t *testing.T) {
	t.Helper()
	said := servesAt.FindStringSubmatch(c.coordinator.out.String())
	c.coordinator = start(t, c.dir, nil, "coordinator", "--listen", said[1], "--nats-listen", said[2], "--data", "kept")
	c.coordinator.until(t, "it serves again", func() bool { return servesAt.MatchString(c.coordinator.out.String()) })
}

// noLoadAfter waits for a bound and then wants the tally to have seen nothing later than it.
func (w *tally) noLoadAfter(t *testing.T, what string, since time.Time, bound time.Duration) {
	t.Helper()
	time.Sleep(time.Until(since.Add(bound + slack + time.Second)))
	last := w.last().Sub(since)
	t.Logf("%s: last start after %v, bound %v", what, last.Round(time.Millisecond), bound)
	if last > bound+slack {
		t.Errorf("%s: the last start came after %v, the bound is %v", what, last, bound)
	}
}

// faultsAtOnce plays them together at once: they wait for leases, not for the processor.
func faultsAtOnce(t *testing.T, all map[string]func(*testing.T)) {
	if testing.Short() {
		t.Skip("leases take their time to lapse")
	}
	var playing sync.WaitGroup
	for name, fault := range all {
		playing.Go(func() { t.Run(name, fault) })
	}
	playing.Wait()
}
