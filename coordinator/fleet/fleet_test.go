package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/fleet"
	pb "github.com/loadline/loadline/proto/loadline/v1"
	"pgregory.net/rapid"
)

const lease = 5 * time.Second

func agent(name string) *pb.AgentInfo {
	return pb.AgentInfo_builder{Name: name, Protocol: fleet.Protocol, Cores: 2}.Build()
}

func at(d time.Duration) int64 { return int64(d) }

func TestRegistrationIsRepeatable(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	first, refusal := f.Register(agent("a1"), 7, 0, at(0))
	if refusal != "" || first == 0 {
		t.Fatalf("refused: %s", refusal)
	}
	if again, _ := f.Register(agent("a1"), 7, 0, at(time.Second)); again != first {
		t.Errorf("repeated registration got incarnation %d, want %d", again, first)
	}
}

func TestRefusals(t *testing.T) {
	tooMany := map[string]string{}
	for i := range 33 {
		tooMany[strings.Repeat("k", i+1)] = "v"
	}
	for name, test := range map[string]struct {
		info *pb.AgentInfo
		want string
	}{
		"a living agent's name": {agent("a1"), "--name"},
		"a name with a space":   {agent("a b"), "letters"},
		"no name":               {agent(""), "letters"},
		"a later protocol":      {pb.AgentInfo_builder{Name: "a2", Protocol: 99}.Build(), "speaks protocol 99, this coordinator speaks protocol 2: install the agent's build of loadline on the coordinator's machine"},
		"the protocol before":   {pb.AgentInfo_builder{Name: "a2", Protocol: 1}.Build(), "speaks protocol 1, this coordinator speaks protocol 2: install the coordinator's build of loadline on the agent's machine"},
		"no protocol":           {pb.AgentInfo_builder{Name: "a2"}.Build(), "speaks protocol 0, this coordinator speaks protocol 2: install the coordinator's build of loadline on the agent's machine"},
		"too many labels":       {pb.AgentInfo_builder{Name: "a2", Protocol: fleet.Protocol, Labels: tooMany}.Build(), "33 labels"},
		"a long label":          {pb.AgentInfo_builder{Name: "a2", Protocol: fleet.Protocol, Labels: map[string]string{"k": strings.Repeat("v", 200)}}.Build(), "label"},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleet.New(fleet.Config{Lease: lease})
			f.Register(agent("a1"), 1, 0, at(0))
			incarnation, refusal := f.Register(test.info, 2, 0, at(time.Second))
			if incarnation != 0 || !strings.Contains(refusal, test.want) {
				t.Errorf("got incarnation %d, refusal %q, want one with %q", incarnation, refusal, test.want)
			}
		})
	}
}

func TestTheFleetIsBounded(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	for i := range fleet.MaxAgents {
		if _, refusal := f.Register(agent(fmt.Sprintf("a%d", i)), uint64(i), 0, 0); refusal != "" {
			t.Fatal(refusal)
		}
	}
	if _, refusal := f.Register(agent("one-more"), 1, 0, 0); !strings.Contains(refusal, "limit") {
		t.Errorf("refusal = %q, want one that names the limit", refusal)
	}
}

func TestALeaseLapsesAndTheNameIsFreeAgain(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	first, _ := f.Register(agent("a1"), 1, 0, at(0))
	if refusal := f.Renew("a1", first, nil, at(4*time.Second)); refusal != "" {
		t.Fatal(refusal)
	}
	if lost := f.Expire(at(10 * time.Second)); len(lost) != 0 {
		t.Errorf("lost at 10 s, before lease, rate and margin are over: %v", lost)
	}
	lost := f.Expire(at(10*time.Second + 60*time.Millisecond))
	if len(lost) != 1 || lost[0].Incarnation != first {
		t.Fatalf("lost = %v, want the one agent", lost)
	}
	second, refusal := f.Register(agent("a1"), 2, 0, at(11*time.Second))
	if refusal != "" || second <= first {
		t.Errorf("second incarnation = %d (%s), want one above %d", second, refusal, first)
	}
	if refusal := f.Renew("a1", first, nil, at(12*time.Second)); !strings.Contains(refusal, "replaced") {
		t.Errorf("the old incarnation's renewal: %q, want a refusal", refusal)
	}
}

func TestARenewalAfterTheLapseIsRefused(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	incarnation, _ := f.Register(agent("a1"), 1, 0, at(0))
	if refusal := f.Renew("a1", incarnation, nil, at(time.Minute)); !strings.Contains(refusal, "lapsed") {
		t.Errorf("refusal = %q", refusal)
	}
}

// An agent that counts its lease from before it asked has stopped before it is declared lost,
// whatever the delays, even if its clock runs 1 % slow.
func TestAnAgentStopsBeforeItIsDeclaredLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fleet.New(fleet.Config{Lease: lease})
		now := int64(0)
		incarnation, _ := f.Register(agent("a1"), 1, 0, now)
		stops := int64(0)
		for range rapid.IntRange(1, 30).Draw(t, "renewals") {
			asked := now + rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")
			arrived := asked + rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "delay")
			now = arrived
			if f.Renew("a1", incarnation, nil, arrived) == "" {
				stops = asked + int64(float64(lease)*1.01)
			}
		}
		for probe := now; probe < now+int64(20*time.Second); probe += int64(50 * time.Millisecond) {
			if len(f.Expire(probe)) > 0 {
				if probe <= stops {
					t.Fatalf("declared lost at %d, the agent stops at %d", probe, stops)
				}
				return
			}
		}
		t.Fatal("never declared lost")
	})
}

// The true offset always lies within the bound.
func TestClockOffsetLiesWithinItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fleet.New(fleet.Config{Lease: time.Hour})
		incarnation, _ := f.Register(agent("a1"), 1, 0, 0)
		truth := rapid.Int64Range(-int64(5*time.Second), int64(5*time.Second)).Draw(t, "offset")
		now := int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "exchanges") {
			sent := now + rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")
			received := sent + rapid.Int64Range(0, int64(5*time.Millisecond)).Draw(t, "forth")
			replied := received + rapid.Int64Range(0, int64(time.Millisecond)).Draw(t, "work")
			returned := replied + rapid.Int64Range(0, int64(5*time.Millisecond)).Draw(t, "back")
			now = returned
			f.Renew("a1", incarnation, pb.ClockSample_builder{
				SentNs: sent - truth, ReceivedNs: received, RepliedNs: replied, ReturnedNs: returned - truth,
			}.Build(), now)
		}
		offset, bound, ok := f.Clock("a1", now)
		if !ok || offset-truth > bound+1 || truth-offset > bound+1 {
			t.Fatalf("offset %d ± %d, truth %d", offset, bound, truth)
		}
	})
}

func TestContradictingClockSampleIsLeftOut(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	incarnation, _ := f.Register(agent("a1"), 1, 0, 0)
	f.Renew("a1", incarnation, pb.ClockSample_builder{SentNs: 10, ReceivedNs: 5, RepliedNs: 100, ReturnedNs: 11}.Build(), 1)
	if _, _, ok := f.Clock("a1", 1); ok {
		t.Error("an impossible exchange gave an offset")
	}
}

func TestWeightIsCapacityElseCores(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	f.Register(pb.AgentInfo_builder{Name: "a", Protocol: fleet.Protocol, Cores: 4}.Build(), 1, 0, 0)
	f.Register(pb.AgentInfo_builder{Name: "b", Protocol: fleet.Protocol, Cores: 4, Capacity: 9}.Build(), 2, 0, 0)
	f.Register(pb.AgentInfo_builder{Name: "c", Protocol: fleet.Protocol}.Build(), 3, 0, 0)
	var weights []uint32
	for _, a := range f.Agents() {
		weights = append(weights, a.Weight())
	}
	if len(weights) != 3 || weights[0] != 4 || weights[1] != 9 || weights[2] != 1 {
		t.Errorf("weights = %v", weights)
	}
}

func TestARestartedCoordinatorTakesItsAgentsBack(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	f.Restore("a1", 7, 0, at(0))
	if refusal := f.Renew("a1", 7, nil, at(time.Second)); refusal != "" {
		t.Errorf("its renewal: %s", refusal)
	}
	if _, refusal := f.Register(agent("a1"), 5, 6, at(time.Second)); !strings.Contains(refusal, "alive") {
		t.Errorf("another process of its name: refusal %q", refusal)
	}
	if got, refusal := f.Register(agent("a1"), 5, 7, at(2*time.Second)); got != 7 {
		t.Errorf("its registration gave incarnation %d (%s), want 7", got, refusal)
	}
	if got, _ := f.Register(agent("a2"), 6, 0, at(2*time.Second)); got != 8 {
		t.Errorf("the next agent got incarnation %d, want 8", got)
	}
	if got, _ := f.Register(agent("a3"), 6, 20, at(2*time.Second)); got != 21 {
		t.Errorf("one that the old coordinator knew got incarnation %d, want 21", got)
	}
}

func TestADeniedAgentLapsesAndComesBackAsAnother(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	first, _ := f.Register(agent("a1"), 1, 0, at(0))
	f.Deny("a1", first, "it does not acknowledge")
	if refusal := f.Renew("a1", first, nil, at(time.Second)); !strings.Contains(refusal, "acknowledge") {
		t.Errorf("renewal: %q", refusal)
	}
	if _, refusal := f.Register(agent("a1"), 1, first, at(2*time.Second)); !strings.Contains(refusal, "lapsed") {
		t.Errorf("registration before the lapse: %q", refusal)
	}
	if lost := f.Expire(at(6*time.Second + 60*time.Millisecond)); len(lost) != 1 {
		t.Errorf("lost = %v, want it", lost)
	}
	if again, refusal := f.Register(agent("a1"), 1, first, at(7*time.Second)); again <= first {
		t.Errorf("incarnation %d after %d: %s", again, first, refusal)
	}
}

func TestAHoldIsWaitedFor(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	first, _ := f.Register(agent("a1"), 1, 0, at(0))
	f.Hold("a1", first, 15*time.Second)
	if lost := f.Expire(at(21 * time.Second)); len(lost) != 0 {
		t.Error("lost while it may hold on")
	}
	if lost := f.Expire(at(21*time.Second + 300*time.Millisecond)); len(lost) != 1 {
		t.Error("not lost after lease and hold")
	}
}

func TestSelection(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	for i, zone := range []string{"a", "b", "a", "a"} {
		info := agent(fmt.Sprint("n", i))
		info.SetLabels(map[string]string{"zone": zone, "disk": "fast"})
		f.Register(info, uint64(i+1), 0, 0)
	}
	f.Leave("n2", 3, false)
	for name, test := range map[string]struct {
		match map[string]string
		limit int
		want  string
	}{
		"all that stay":     {nil, 0, "n0 n1 n3"},
		"by a label":        {map[string]string{"zone": "a"}, 0, "n0 n3"},
		"by two labels":     {map[string]string{"zone": "b", "disk": "fast"}, 0, "n1"},
		"a label of nobody": {map[string]string{"zone": ""}, 0, ""},
		"the first ones":    {nil, 2, "n0 n1"},
	} {
		var got []string
		for _, a := range f.Select(test.match, test.limit) {
			got = append(got, a.Info.GetName())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
	f.Leave("n2", 3, true)
	if got := len(f.Agents()); got != 3 {
		t.Errorf("%d agents after one has gone, want 3", got)
	}
}

// TestACoordinatorThatStoodStillLosesNobody: what its agents asked for while it stood still is still under way.
func TestACoordinatorThatStoodStillLosesNobody(t *testing.T) {
	f := fleet.New(fleet.Config{Lease: lease})
	for i, name := range []string{"well", "dead"} {
		f.Register(agent(name), uint64(i+1), 0, at(0))
	}
	const still = 20 * time.Second
	now := at(time.Second + still)
	f.Stood(still, now)
	if lost := f.Expire(now); len(lost) > 0 {
		t.Fatalf("%s is lost because the coordinator stood still", lost[0].Info.GetName())
	}
	if refusal := f.Renew("well", 1, nil, now); refusal != "" {
		t.Errorf("refused: %s", refusal)
	}
	lost := f.Expire(now + at(5200*time.Millisecond))
	if len(lost) != 1 || lost[0].Info.GetName() != "dead" {
		t.Errorf("lost: %v, want the one that renews no more", lost)
	}
}

// TestALapsedAgentIsLostBeforeItsNameIsFree (seed 6151 of the simulated cluster): a process that was started anew registered between the
// lapse and the next look at the leases, so no run ever heard that the old one was lost, and its share was never handed over.
func TestALapsedAgentIsLostBeforeItsNameIsFree(t *testing.T) {
	for name, deny := range map[string]bool{"lapsed": false, "denied and lapsed": true} {
		f := fleet.New(fleet.Config{Lease: lease})
		first, _ := f.Register(agent("a1"), 1, 0, at(0))
		if deny {
			f.Deny("a1", first, "it does not acknowledge")
		}
		if second, refusal := f.Register(agent("a1"), 2, 0, at(8*time.Second)); refusal == "" {
			t.Errorf("%s: incarnation %d is given before anybody knows that %d is lost", name, second, first)
		}
		if lost := f.Expire(at(8 * time.Second)); len(lost) != 1 || lost[0].Incarnation != first {
			t.Errorf("%s: lost = %v", name, lost)
		}
		if _, refusal := f.Register(agent("a1"), 2, 0, at(8*time.Second)); refusal != "" {
			t.Errorf("%s: %s", name, refusal)
		}
	}
}
