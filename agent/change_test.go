package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// asMember makes the stage one of several members of the given weights.
func (st *stage) asMember(member int, weights ...uint32) *stage {
	var members []*pb.Member
	for i, w := range weights {
		members = append(members, pb.Member_builder{Agent: fmt.Sprint("a", i), Weight: max(w, 1), MaxInFlight: 10_000}.Build())
	}
	st.part.assignment.SetMembers(members)
	st.part.assignment.SetMember(uint32(member))
	st.part.place.Store(int64(member))
	st.part.course = schedule.NewCourse(st.part.schedule, weights)
	st.begin()
	return st
}

// begin makes the player of the stage's course.
func (st *stage) begin() {
	st.part.changing.Lock()
	st.player = st.agent.newPlayer(st.part, st.lease)
	st.part.player.Store(st.player)
	st.part.changing.Unlock()
}

// later does something at an instant of the run's clock, which begins 100 ms after the bubble.
func later(at time.Duration, f func()) { time.AfterFunc(100*time.Millisecond+at, f) }

func changeTo(epoch uint32, at time.Duration, weights []uint32, revisions ...*pb.Revision) *pb.Change {
	revision := uint32(1)
	if len(revisions) > 0 {
		revision = 2
	}
	return pb.Change_builder{
		Epoch: epoch, Attempt: 1, Revision: revision, AtNs: int64(at), Weights: weights, Revisions: revisions,
	}.Build()
}

// counted is what a player counted over all windows, and its last cursors.
func (st *stage) counted() (c *pb.Counters, cursors map[uint32]uint64) {
	c, cursors = &pb.Counters{}, map[uint32]uint64{}
	t := st.player.recorder.Totals()
	for _, g := range t.GetGroups() {
		c.SetDue(c.GetDue() + g.GetCounters().GetDue())
		c.SetStarted(c.GetStarted() + g.GetCounters().GetStarted())
		c.SetMissed(c.GetMissed() + g.GetCounters().GetMissed())
		c.SetSessionsCanceled(c.GetSessionsCanceled() + g.GetCounters().GetSessionsCanceled())
	}
	st.player.recorder.Swap(st.player.now() + 1)
	for _, cursor := range st.player.recorder.Totals().GetCursors() {
		cursors[cursor.GetPhase()] = cursor.GetNextArrival()
	}
	return c, cursors
}

func TestTheShareOfALostMemberIsPlayedFromTheInstantOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		ch := changeTo(2, 6*time.Second, []uint32{1, 0})
		later(5500*time.Millisecond, func() {
			if at, err := st.part.hold(ch); err != nil || time.Duration(at).Round(time.Millisecond) != 5500*time.Millisecond {
				t.Errorf("hold at %v: %v", time.Duration(at), err)
			}
		})
		later(5800*time.Millisecond, func() {
			if err := st.part.apply(ch); err != nil {
				t.Error(err)
			}
		})
		st.player.run()
		c, cursors := st.counted()
		if c.GetDue() != 300+400 || c.GetStarted() != 700 || cursors[0] != 1000 {
			t.Errorf("counted %v, cursors %v, want 300 of two members and 400 alone", c, cursors)
		}
		if err := st.part.apply(ch); err != nil {
			t.Errorf("a change that is repeated: %v", err)
		}
	})
}

func TestNothingStartsFromAProposedInstantOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		ch := changeTo(2, 6*time.Second, []uint32{1, 0})
		later(5*time.Second, func() { st.part.hold(ch) })
		later(8*time.Second, func() {
			if last := time.Duration(st.target.last.Load()); last < 5900*time.Millisecond || last >= 6*time.Second {
				t.Errorf("the last session started at %v while the change was proposed", last)
			}
			if err := st.part.apply(ch); err != nil {
				t.Error(err)
			}
		})
		st.player.run()
		c, _ := st.counted()
		// What was due from 6 s to 7.75 s was more than 250 ms late at 8 s.
		if c.GetDue() != 700 || c.GetMissed() != 175 || c.GetStarted() != 525 {
			t.Errorf("counted %v, want 175 missed of 700", c)
		}
	})
}

// TestALaterAttemptTakesThePlace: what lies between two attempts is the old epoch's again, and an attempt whose instant has passed is
// refused.
func TestALaterAttemptTakesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		first, second := changeTo(2, 6*time.Second, []uint32{1, 0}), changeTo(2, 8*time.Second, []uint32{1, 0})
		second.SetAttempt(2)
		later(5*time.Second, func() { st.part.hold(first) })
		later(5900*time.Millisecond, func() {
			if _, err := st.part.hold(second); err != nil {
				t.Error(err)
			}
			if _, err := st.part.hold(first); err == nil {
				t.Error("an attempt is taken back by the one before it")
			}
		})
		later(7500*time.Millisecond, func() {
			late := changeTo(2, 7*time.Second, []uint32{1, 0})
			late.SetAttempt(3)
			if at, err := st.part.hold(late); err != errLate || time.Duration(at).Round(time.Millisecond) != 7500*time.Millisecond {
				t.Errorf("an instant that has passed: %v at %v", err, time.Duration(at))
			}
			if err := st.part.apply(second); err != nil {
				t.Error(err)
			}
		})
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 400+200 {
			t.Errorf("counted %v, want half until 8 s and everything then", c)
		}
	})
}

func TestAStopEndsALoadThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 1h}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		later(5*time.Second, func() { st.part.hold(changeTo(2, 6*time.Second, []uint32{1, 0})) })
		later(7*time.Second, func() { st.player.stop(pb.StopMode_STOP_MODE_DRAIN) })
		st.player.run()
		if c, cursors := st.counted(); c.GetStarted() != 300 || cursors[0] != 599 || st.player.now() > measure.Instant(8*time.Second) {
			t.Errorf("counted %v, cursors %v at %v", c, cursors, time.Duration(st.player.now()))
		}
	})
}

func TestALeavingMemberPlaysWhatIsDueBeforeTheInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]", always(time.Millisecond), nil).asMember(1, 1, 1)
		ch := changeTo(2, 6*time.Second, []uint32{1, 0})
		later(5*time.Second, func() { st.part.hold(ch); st.part.apply(ch) })
		st.player.run()
		if c, cursors := st.counted(); c.GetStarted() != 300 || cursors[0] != 600 {
			t.Errorf("counted %v, cursors %v", c, cursors)
		}
		if now := st.player.now(); now > measure.Instant(6200*time.Millisecond) {
			t.Errorf("a member that has left plays until %v", time.Duration(now))
		}
	})
}

func TestALateJoinerPlaysFromItsInstantOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		ch := changeTo(2, 6*time.Second, []uint32{1, 1, 2})
		ch.SetJoined([]*pb.Member{pb.Member_builder{Agent: "a2", Weight: 2}.Build()})
		st.part.assignment.SetMembers(append(st.part.assignment.GetMembers(), pb.Member_builder{Agent: "a2", Weight: 2}.Build()))
		st.part.assignment.SetMember(2)
		st.part.place.Store(2)
		st.part.player.Store(nil)
		time.Sleep(5500 * time.Millisecond)
		if _, err := st.part.hold(ch); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second) // 6.4 s of the run's clock: the start comes after the instant
		if err := st.part.apply(ch); err != nil {
			t.Error(err)
		}
		st.begin()
		st.player.run()
		c, _ := st.counted()
		if c.GetDue() != 200 || c.GetMissed() < 5 || c.GetMissed() > 10 {
			t.Errorf("counted %v, want half of 400, what was due until 6.15 s missed", c)
		}
		if got := st.player.inFlight.Now(); got != 0 {
			t.Errorf("%d in flight", got)
		}
	})
}

func TestARateTakesOverWhilePlaying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {ramp: {from: 5, to: 50}, arrivals: poisson}, duration: 10s}]", always(time.Millisecond), nil)
		st.begin()
		before := st.part.course.Phases()[0].CountUntil(int64(4*time.Second) - 1)
		ch := changeTo(2, 4*time.Second, []uint32{1}, pb.Revision_builder{Rate: proto.Float64(200)}.Build())
		later(3500*time.Millisecond, func() { st.part.hold(ch); st.part.apply(ch) })
		st.player.run()
		c, cursors := st.counted()
		want := st.part.course.Phases()[0].Arrivals
		if c.GetStarted() != want || cursors[0] != want || want < before+1100 || want > before+1300 {
			t.Errorf("counted %v, want %d: %d before and about 1200", c, want, before)
		}
	})
}

func TestAppendedPhasesArePlayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{name: a, open: {rate: 10}, duration: 10s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		ch := changeTo(2, 4*time.Second, []uint32{1, 1}, pb.Revision_builder{Ended: proto.Bool(true)}.Build())
		ch.SetAppended([]*pb.Phase{pb.Phase_builder{
			Name: proto.String("b"), Open: pb.OpenLoad_builder{Rate: proto.Float64(100)}.Build(), Duration: durationpb.New(3 * time.Second),
		}.Build()})
		later(3500*time.Millisecond, func() { st.part.hold(ch); st.part.apply(ch) })
		st.player.run()
		c, cursors := st.counted()
		if c.GetStarted() != 20+150 || cursors[0] != 39 || cursors[1] != 299 || st.player.now() > measure.Instant(8*time.Second) {
			t.Errorf("counted %v, cursors %v at %v", c, cursors, time.Duration(st.player.now()))
		}
	})
}

func TestAnOpenEndedLoadWaitsForPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{name: a, open: {rate: 10}, duration: 1s}]", always(time.Millisecond), nil)
		st.part.assignment.SetOpenEnded(true)
		st.begin()
		ch := changeTo(2, time.Minute, []uint32{1})
		ch.SetAppended([]*pb.Phase{pb.Phase_builder{
			Name: proto.String("b"), Open: pb.OpenLoad_builder{Rate: proto.Float64(10)}.Build(), Duration: durationpb.New(3 * time.Second),
		}.Build()})
		later(50*time.Second, func() { st.part.hold(ch); st.part.apply(ch) })
		later(2*time.Minute, func() { st.player.stop(pb.StopMode_STOP_MODE_DRAIN) })
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 40 || st.player.now() < measure.Instant(2*time.Minute) {
			t.Errorf("counted %v until %v", c, time.Duration(st.player.now()))
		}
	})
}

func TestALeaseThatIsGoneIsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]\ndrain: 1s", always(5*time.Second), nil).asMember(0, 1, 1)
		lease := &guard.Lease{}
		lease.Grant(int64(2100 * time.Millisecond))
		st.player.lease = lease
		later(2*time.Second, st.player.pause)
		later(3500*time.Millisecond, func() {
			if open := st.target.open.Load(); open != 0 {
				t.Errorf("%d sessions go on after the drain time of a lease that is gone", open)
			}
		})
		later(6*time.Second, func() {
			lease.Grant(int64(time.Hour))
			st.player.resume()
		})
		st.player.run()
		c, cursors := st.counted()
		if c.GetDue() != 500 || c.GetMissed() < 186 || c.GetMissed() > 188 || cursors[0] != 999 {
			t.Errorf("counted %v, cursors %v, want what was due from 2 s to 5.75 s missed", c, cursors)
		}
	})
}

// TestWithoutALeaseNobodyCountsWhatOthersMayPlay: what falls due without a lease is accounted for by its owner by the course that is
// committed in the end.
func TestWithoutALeaseNobodyCountsWhatOthersMayPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 10s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		lease := &guard.Lease{}
		lease.Grant(int64(2100 * time.Millisecond))
		st.player.lease = lease
		later(7*time.Second, func() {
			if err := st.part.apply(changeTo(2, 5*time.Second, []uint32{0, 1})); err != nil {
				t.Error(err)
			}
			st.player.stop(pb.StopMode_STOP_MODE_NOW) // refused as an old incarnation: it flushes
		})
		st.player.run()
		if c, cursors := st.counted(); c.GetDue() != 100 || cursors[0] != 199 {
			t.Errorf("counted %v, cursors %v, want nothing from 2 s on", c, cursors)
		}
	})
}

// TestALoadWithoutACoordinatorEnds: with the lease gone for good, also with a change open, the load is over some time after its
// schedule; while there may be another word it waits.
func TestALoadWithoutACoordinatorEnds(t *testing.T) {
	for name, load := range map[string]string{
		"open": "load: [{open: {rate: 100}, duration: 10s}]\ndrain: 1s", "closed": "load: [{closed: {users: 4}, duration: 10s}]\ndrain: 1s",
	} {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, load, always(5*time.Millisecond), nil).asMember(0, 1, 1)
			lease := &guard.Lease{}
			lease.Grant(int64(4100 * time.Millisecond))
			st.player.lease = lease
			later(3900*time.Millisecond, func() {
				if _, err := st.part.hold(changeTo(2, 6*time.Second, []uint32{1, 1})); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			later(4*time.Second, st.player.pause)
			later(25900*time.Millisecond, func() {
				if st.player.overdue() {
					t.Errorf("%s: overdue before schedule, drain time and the wait are over", name)
				}
			})
			later(26100*time.Millisecond, func() {
				if !st.player.overdue() {
					t.Errorf("%s: not overdue at %v", name, time.Duration(st.player.now()))
				}
				st.player.stop(pb.StopMode_STOP_MODE_NOW)
			})
			st.player.run()
			if at := time.Duration(st.player.now()); at > 27*time.Second {
				t.Errorf("%s: it ended at %v", name, at)
			}
			if open := st.target.open.Load(); open != 0 {
				t.Errorf("%s: %d sessions go on", name, open)
			}
		})
	}
}

func TestSlotsChangeHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{closed: {users: 8}, duration: 10s}]", always(100*time.Millisecond), nil).asMember(0, 1, 1)
		ch := changeTo(2, 4*time.Second, []uint32{1, 0})
		later(3900*time.Millisecond, func() { st.part.hold(ch) })
		later(4500*time.Millisecond, func() { st.part.apply(ch) })
		st.player.run()
		c, _ := st.counted()
		// 4 users until 4 s, then none until the commitment at 4.5 s, then 8.
		if got := c.GetStarted(); got != 4*40+8*55 {
			t.Errorf("started %d, want %d", got, 4*40+8*55)
		}
	})
}

func TestSlotsOfALeavingMemberEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{closed: {users: 8}, duration: 10s}]", always(100*time.Millisecond), nil).asMember(1, 1, 1)
		ch := changeTo(2, 4*time.Second, []uint32{1, 0})
		later(3500*time.Millisecond, func() { st.part.hold(ch); st.part.apply(ch) })
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 4*40 {
			t.Errorf("started %d, want 160", c.GetStarted())
		}
	})
}

func TestUsersArePausedAndResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{closed: {users: 4}, sessions: 60}]", always(100*time.Millisecond), nil)
		st.begin()
		pause := changeTo(2, 500*time.Millisecond, []uint32{1}, pb.Revision_builder{Paused: proto.Bool(true)}.Build())
		resume := changeTo(3, 5*time.Second, []uint32{1}, pb.Revision_builder{Resumed: proto.Bool(true)}.Build())
		resume.SetRevision(3)
		later(300*time.Millisecond, func() { st.part.hold(pause); st.part.apply(pause) })
		later(2*time.Second, func() {
			if n := st.target.started.Load(); n != 20 {
				t.Errorf("%d sessions before the pause, want 20", n)
			}
			st.part.hold(resume)
			st.part.apply(resume)
		})
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 60 || st.player.now() < measure.Instant(6*time.Second-1) {
			t.Errorf("started %d until %v, want all 60, the last 40 from 5 s on", c.GetStarted(), time.Duration(st.player.now()))
		}
	})
}

func TestMoreAndFewerUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{closed: {users: 4}, duration: 9s}]", always(100*time.Millisecond), nil)
		st.begin()
		more := changeTo(2, 3*time.Second, []uint32{1}, pb.Revision_builder{Users: proto.Uint32(10)}.Build())
		fewer := changeTo(3, 6*time.Second, []uint32{1}, pb.Revision_builder{Users: proto.Uint32(2)}.Build())
		fewer.SetRevision(3)
		later(time.Second, func() { st.part.hold(more); st.part.apply(more); st.part.hold(fewer); st.part.apply(fewer) })
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 4*30+10*30+2*30 {
			t.Errorf("started %d, want %d", c.GetStarted(), 4*30+10*30+2*30)
		}
	})
}

// TestWhatTheOwnerDoesNotAllowIsRefusedAtTheProposal: a wish above a ceiling is refused with the flag that raises it, also the sum of
// phases; another's share is not.
func TestWhatTheOwnerDoesNotAllowIsRefusedAtTheProposal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 5s}, {name: b, at: 0s, open: {rate: 60}, duration: 5s}, {name: u, at: 0s, closed: {users: 4}, duration: 5s}]",
			always(time.Millisecond), nil).asMember(0, 1, 1)
		st.part.own = &guard.Own{MaxRate: 100, MaxInFlight: 10}
		st.begin()
		rate := func(r float64) *pb.Revision { return pb.Revision_builder{Rate: new(r)}.Build() }
		users := func(n uint32) *pb.Revision { return pb.Revision_builder{Phase: 2, Users: new(n)}.Build() }
		later(time.Second, func() {
			for _, try := range []struct {
				change *pb.Change
				want   string
			}{
				{changeTo(2, 2*time.Second, []uint32{1, 1}, rate(141)), "--max-rate"},
				{changeTo(2, 2*time.Second, []uint32{1, 0}, rate(41)), "--max-rate"},
				{changeTo(2, 2*time.Second, []uint32{1, 1}, users(21)), "--max-in-flight"},
				{changeTo(2, 2*time.Second, []uint32{1, 1}, users(20)), ""},
				{changeTo(2, 2*time.Second, []uint32{1, 0}), ""},
				{changeTo(2, 2*time.Second, []uint32{1, 1}, rate(140)), ""},
			} {
				_, err := st.part.hold(try.change)
				if excess := errors.Is(err, guard.ErrExcess); excess != (try.want != "") || excess && !strings.Contains(err.Error(), try.want) {
					t.Errorf("%v: %v, want %q", try.change, err, try.want)
				}
			}
			if err := st.part.apply(changeTo(2, 2*time.Second, []uint32{1, 1})); err != nil { // what is held goes on
				t.Error(err)
			}
		})
		st.player.run()
	})
}

func TestTheCeilingFollowsTheWeightsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 2s}]\nlimits: {max_in_flight: 30}\ndrain: 1s", always(time.Minute), nil)
		st.asMember(0, 1, 1, 1)
		st.part.assignment.GetMembers()[0].SetMaxInFlight(10)
		st.begin()
		ch := changeTo(2, time.Second, []uint32{1, 0, 0})
		later(500*time.Millisecond, func() {
			st.part.hold(ch)
			st.part.apply(ch)
			if most := st.target.most.Load(); most != 10 {
				t.Errorf("%d in flight before the change, want 10", most)
			}
		})
		st.player.run()
		if most := st.target.most.Load(); most != 30 {
			t.Errorf("%d in flight at most, want all 30 once alone", most)
		}
	})
}

// TestTotalsTellWhatTheOwnersCeilingKeptBack: an inherited share above what the agent's owner allows is shed, and the totals say that
// it was for the owner's ceiling; what the scenario's own limit sheds is not among it.
func TestTotalsTellWhatTheOwnersCeilingKeptBack(t *testing.T) {
	for name, own := range map[string]*guard.Own{"below the share": {MaxInFlight: 12}, "above the share": {MaxInFlight: 100}, "no owner": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, "load: [{open: {rate: 100}, duration: 2s}]\nlimits: {max_in_flight: 30}\ndrain: 1s", always(time.Minute), nil)
				st.asMember(0, 1, 1, 1)
				st.part.assignment.GetMembers()[0].SetMaxInFlight(10)
				st.part.own = own
				st.begin()
				ch := changeTo(2, time.Second, []uint32{1, 0, 0})
				later(500*time.Millisecond, func() {
					st.part.hold(ch)
					st.part.apply(ch)
				})
				st.player.run()
				totals := st.part.totals()
				shed, over := totals.GetGroups()[0].GetCounters().GetShed(), totals.GetOverInFlight()
				before := uint64(34 - 10) // of a third of the first 100 arrivals, 10 found room
				if own == nil || own.MaxInFlight > 30 {
					before = shed
				}
				if over != shed-before || shed < 70 || totals.GetOverRate() != 0 {
					t.Errorf("%d shed, %d of them for the owner's ceiling in flight, %d for that of the rate", shed, over, totals.GetOverRate())
				}
			})
		})
	}
}

func TestChangesThatAPlayerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 3s}]", always(time.Millisecond), nil).asMember(0, 1, 1)
		later(2*time.Second, func() {
			for _, x := range []struct {
				want string
				err  error
			}{
				{"cannot follow epoch 1", st.part.apply(changeTo(3, 3*time.Second, []uint32{1, 0}))},
				{"has started arrivals due after", st.part.apply(changeTo(2, time.Second, []uint32{1, 0}))},
				{"no member has a weight", st.part.apply(changeTo(2, 3*time.Second, []uint32{0, 0}))},
			} {
				if x.err == nil || !strings.Contains(x.err.Error(), x.want) {
					t.Errorf("error %v, want %q", x.err, x.want)
				}
			}
		})
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 150 {
			t.Errorf("after refused changes: %v", c)
		}
		if _, err := st.part.hold(changeTo(2, 4*time.Second, []uint32{1, 1})); err == nil {
			t.Error("a change is acknowledged after the load")
		}
		if err := (&part{}).apply(changeTo(2, 1, nil)); err == nil {
			t.Error("a change is applied before anything is ready")
		}
	})
}

// TestMembersTogetherPlayTheOneCourse: whatever is proposed, attempted again and committed, at whatever moment each member hears of
// it, the members together account for every arrival of the course once.
func TestMembersTogetherPlayTheOneCourse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "changes")
		type plan struct {
			at, propose, commit time.Duration
			weights             []uint32
		}
		var plans []plan
		at := time.Second
		for range n {
			at += time.Duration(rapid.IntRange(400, 1500).Draw(rt, "later")) * time.Millisecond
			w := []uint32{rapid.Uint32Range(0, 3).Draw(rt, "w0"), rapid.Uint32Range(1, 3).Draw(rt, "w1"), rapid.Uint32Range(0, 2).Draw(rt, "w2")}
			if len(plans) > 0 { // nobody gets a share back
				before := plans[len(plans)-1].weights
				w[0], w[2] = min(w[0], before[0]*3), min(w[2], before[2]*3)
			}
			plans = append(plans, plan{at, at - 300*time.Millisecond, at + time.Duration(rapid.IntRange(-250, 90).Draw(rt, "commit"))*time.Millisecond, w})
		}
		var due, started uint64
		want := uint64(0)
		for member := range 3 {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, "load: [{open: {rate: 100, arrivals: poisson}, duration: 8s}]", always(time.Millisecond), nil).asMember(member, 1, 2, 1)
				for i, p := range plans {
					if i > 0 && plans[i-1].weights[member] == 0 {
						break // it is gone
					}
					ch := changeTo(uint32(i+2), p.at, p.weights)
					later(p.propose, func() {
						if _, err := st.part.hold(ch); err != nil {
							t.Error(err)
						}
					})
					later(p.commit, func() {
						if err := st.part.apply(ch); err != nil {
							t.Error(err)
						}
					})
				}
				st.player.run()
				c, _ := st.counted()
				due += c.GetDue()
				started += c.GetStarted()
				st.part.changing.Lock()
				course := st.part.course
				st.part.changing.Unlock()
				want = course.Phases()[0].Arrivals
				if own := course.Count(0, member, want); own != c.GetDue() {
					t.Errorf("member %d accounts for %d arrivals and owns %d", member, c.GetDue(), own)
				}
			})
		}
		if due != want || started != want {
			rt.Fatalf("the members account for %d and start %d of %d", due, started, want)
		}
	})
}

// A load that is closed ends with its last phase, though it was open-ended.
func TestAnOpenEndedLoadEndsWhenItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{name: a, open: {rate: 10}, duration: 1h}]", always(time.Millisecond), nil)
		st.part.assignment.SetOpenEnded(true)
		st.begin()
		ch := changeTo(2, time.Minute, []uint32{1}, pb.Revision_builder{Ended: proto.Bool(true)}.Build())
		ch.SetClosed(true)
		later(50*time.Second, func() { st.part.hold(ch); st.part.apply(ch) })
		st.player.run()
		if c, _ := st.counted(); c.GetStarted() != 600 || st.player.now() > measure.Instant(2*time.Minute) {
			t.Errorf("counted %v until %v", c, time.Duration(st.player.now()))
		}
	})
}

func TestAssignmentsWithChanges(t *testing.T) {
	st := newStage(t, "load: [{open: {rate: 100}, duration: 3s}]", always(time.Millisecond), nil)
	assignment := func(members int, weights []uint32, changes ...*pb.Change) *pb.Assignment {
		a := pb.Assignment_builder{PhaseArrivals: []uint64{300}, Changes: changes}
		for range members {
			a.Members = append(a.Members, &pb.Member{})
		}
		a.Member = uint32(members - 1)
		a.Shares = []*pb.EpochShare{pb.EpochShare_builder{Epoch: 1, Weights: weights}.Build()}
		return a.Build()
	}
	if c, err := courseOf(assignment(3, []uint32{1, 1}, changeTo(2, 1, []uint32{1, 0})), st.part.schedule); err != nil || c.Epoch() != 2 {
		t.Errorf("a joiner's course: %v", err)
	}
	empty := assignment(2, []uint32{1, 1}, changeTo(2, 1, []uint32{1, 0}))
	empty.SetPhaseArrivals(nil)
	if _, err := courseOf(empty, st.part.schedule); err == nil {
		t.Error("a plan without phases that is not open-ended is taken on")
	}
	empty.SetOpenEnded(true)
	if c, err := courseOf(empty, &schedule.Schedule{}); err != nil || c.Members() != 2 {
		t.Errorf("the course of a load without phases yet: %v", err)
	}
	unlike := assignment(2, []uint32{1, 1})
	unlike.SetShares(nil)
	for _, x := range []struct {
		want string
		a    *pb.Assignment
	}{
		{"shares of 0 phases", unlike},
		{"has 1 members and its changes 2", assignment(1, []uint32{1, 1})},
		{"cannot follow epoch 1", assignment(2, []uint32{1, 1}, changeTo(5, 1, []uint32{1, 0}))},
	} {
		if _, err := courseOf(x.a, st.part.schedule); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("error %v, want %q", err, x.want)
		}
	}
}
