package torture

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// torture is how many worlds are tried when nobody says otherwise; scripts/torture says more.
const torture = 200

// sometimes is what must happen in a suite of worlds: one in which nothing went wrong has shown nothing.
var sometimes = []string{
	"message lost", "message doubled", "message lost to a partition", "partition one way", "partition of one channel", "partition of all",
	"agent killed", "agent restarted", "agent stopped and woken", "agent left", "agent joined", "agent denied",
	"coordinator killed", "coordinator took the run up", "slow disk", "stop",
	"lease lapsed", "lease given up", "went on after a lapse", "arrival missed", "arrival lost and reported", "window repeated",
	"share of a lost agent handed over", "share of a leaving agent handed over", "hold of an earlier coordinator freed", "stop learned from a renewal",
	"nobody left", "results taken when nobody was left", "lopsided way", "deaf agent", "went on as another", "instant passed on a clock ahead", "gap refused",
	"coordinator killed in the middle of a change", "acknowledgement for an earlier coordinator",
	"change applied", "change tried again", "proposal refused", "wish refused",
	"rate changed", "users changed", "phase paused", "phase resumed", "phase ended",
	"ended complete", "ended partial", "ended aborted",
}

// TestTorture plays whole clusters of the real machines under faults. Each seed is one history; a failure names the
// seed, which replays alone: scripts/torture --seed N.
func TestTorture(t *testing.T) {
	first, count := number(t, "LOADLINE_TORTURE_SEED", 0), number(t, "LOADLINE_TORTURE_SEEDS", torture)
	var mu sync.Mutex
	seen := map[string]int{}
	var workers sync.WaitGroup
	next := make(chan uint64)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := range next {
				w := newWorld(seed)
				if count == 1 {
					w.trace = t.Logf
				}
				fault := w.play()
				mu.Lock()
				for what, n := range w.seen {
					seen[what] += n
				}
				seen["ended "+word(w.ended)]++
				mu.Unlock()
				if fault != "" {
					t.Errorf("seed %d: %s\n\treplay: scripts/torture --seed %d", seed, fault, seed)
				}
			}
		})
	}
	for seed := first; seed < first+count && !t.Failed(); seed++ {
		next <- seed
	}
	close(next)
	workers.Wait()
	for _, what := range sometimes {
		if seen[what] == 0 && count >= torture && !t.Failed() {
			t.Errorf("in no world: %s", what)
		}
	}
	t.Log(seen)
}

func word(state pb.RunState) string {
	switch state {
	case pb.RunState_RUN_STATE_COMPLETE:
		return "complete"
	case pb.RunState_RUN_STATE_PARTIAL:
		return "partial"
	case pb.RunState_RUN_STATE_ABORTED:
		return "aborted"
	}
	return fmt.Sprint(state)
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
