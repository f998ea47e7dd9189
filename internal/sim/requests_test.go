package sim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// requests reads GET /truth/requests.
func (r *running) requests(run string) []RequestTruth {
	r.t.Helper()
	resp, err := r.do(http.MethodGet, "/truth/requests?run="+run, "")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []RequestTruth
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var one RequestTruth
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			r.t.Fatalf("line %q: %v", lines.Text(), err)
		}
		list = append(list, one)
	}
	return list
}

// TestRequestsOneByOne: instants in their order, and their distances at least those of the law.
func TestRequestsOneByOne(t *testing.T) {
	cfg := quick("truncated:after=2,from=1,count=1")
	cfg.Requests = 3
	cfg.Fixed = FixedLaw{TTFT: Fixed(5 * time.Millisecond), ITL: Fixed(2 * time.Millisecond)}
	r := start(t, cfg)
	for i := range 5 {
		r.ask(http.MethodPost, chatPath, chatBody, headerRun, "r1", headerArrival, fmt.Sprintf("p/%d/0", i))
	}
	r.ask(http.MethodPost, chatPath, chatBody) // without an arrival: cannot be joined
	for r.Truth().InFlight > 0 {               // the client sees the end before the ledger does
		time.Sleep(time.Millisecond)
	}
	list := r.requests("r1")
	if truth := r.Truth(); len(list) != 3 || truth.RequestsKept != 3 || truth.RequestsDropped != 2 {
		t.Fatalf("%d listed, %d kept, %d dropped", len(list), truth.RequestsKept, truth.RequestsDropped)
	}
	for i, one := range list {
		outcome, tokens := "completed", uint32(6)
		if i == 1 {
			outcome, tokens = "broken", 2
		}
		if one.Run != "r1" || one.Arrival != fmt.Sprintf("p/%d/0", i) || one.Route != "chat" || one.Outcome != outcome || one.Tokens != tokens || one.Events != tokens {
			t.Errorf("request %d: %+v", i, one)
		}
		if one.FirstNS-one.BegunNS < 5e6 || one.LastNS-one.BegunNS < 5e6+int64(tokens-1)*2e6 || one.EndNS < one.LastNS {
			t.Errorf("request %d: %+v", i, one)
		}
	}
	if other := r.requests("r2"); len(other) != 0 {
		t.Errorf("of another run: %+v", other)
	}
	r.ResetTruth()
	if truth := r.Truth(); truth.RequestsKept != 0 || truth.RequestsDropped != 0 {
		t.Errorf("after a reset: %d kept, %d dropped", truth.RequestsKept, truth.RequestsDropped)
	}
}

// TestRequestsAreOffUnlessAskedFor: nothing is kept, and the answer says how to ask.
func TestRequestsAreOffUnlessAskedFor(t *testing.T) {
	r := start(t, quick())
	r.ask(http.MethodPost, chatPath, chatBody, headerRun, "r", headerArrival, "p/0/0")
	for r.Truth().InFlight > 0 {
		time.Sleep(time.Millisecond)
	}
	if a := r.ask(http.MethodGet, "/truth/requests", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, "--requests") || r.Truth().RequestsKept != 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
