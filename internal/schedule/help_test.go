package schedule

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func seconds(s float64) *durationpb.Duration {
	return durationpb.New(time.Duration(s * float64(time.Second)))
}

// rate, ramp, steps, spike and sine make open loads with constant spacing.
func rate(r float64) *pb.OpenLoad { return pb.OpenLoad_builder{Rate: proto.Float64(r)}.Build() }

func ramp(from, to float64) *pb.OpenLoad {
	return pb.OpenLoad_builder{Ramp: pb.Ramp_builder{From: proto.Float64(from), To: proto.Float64(to)}.Build()}.Build()
}

func steps(from, to, by, every float64) *pb.OpenLoad {
	return pb.OpenLoad_builder{Steps: pb.Steps_builder{
		From: proto.Float64(from), To: proto.Float64(to), By: proto.Float64(by), Every: seconds(every),
	}.Build()}.Build()
}

func spike(base, peak, rise, hold, fall float64) *pb.OpenLoad {
	return pb.OpenLoad_builder{Spike: pb.Spike_builder{
		Base: proto.Float64(base), Peak: proto.Float64(peak), Rise: seconds(rise), Hold: seconds(hold), Fall: seconds(fall),
	}.Build()}.Build()
}

func sineLoad(mean, amplitude, period float64) *pb.OpenLoad {
	return pb.OpenLoad_builder{Sine: pb.Sine_builder{
		Mean: proto.Float64(mean), Amplitude: proto.Float64(amplitude), Period: seconds(period),
	}.Build()}.Build()
}

// poisson and gammaOf change the spacing of a load.
func poisson(o *pb.OpenLoad) *pb.OpenLoad {
	o.SetArrivals(pb.Arrivals_ARRIVALS_POISSON)
	return o
}

func gammaOf(cv float64, o *pb.OpenLoad) *pb.OpenLoad {
	o.SetArrivals(pb.Arrivals_ARRIVALS_GAMMA)
	o.SetCv(cv)
	return o
}

// open makes a phase of so many seconds; 0: no duration is given.
func open(name string, o *pb.OpenLoad, length float64) *pb.Phase {
	p := pb.Phase_builder{Name: proto.String(name), Open: o}.Build()
	if length > 0 {
		p.SetDuration(seconds(length))
	}
	return p
}

func closedPhase(name string, users uint32, length float64) *pb.Phase {
	p := pb.Phase_builder{Name: proto.String(name), Closed: pb.ClosedLoad_builder{Users: &users}.Build()}.Build()
	if length > 0 {
		p.SetDuration(seconds(length))
	}
	return p
}

// scenario makes one of the given phases and workloads a, b, c … of the given weights, one of weight 1 when none is given.
func scenario(seed uint64, weights []uint32, phases ...*pb.Phase) *pb.Scenario {
	if weights == nil {
		weights = []uint32{1}
	}
	s := pb.Scenario_builder{Name: proto.String("test"), Seed: &seed, Load: phases}.Build()
	var all []*pb.Workload
	for i, w := range weights {
		all = append(all, pb.Workload_builder{Name: proto.String(string(rune('a' + i))), Weight: proto.Uint32(w)}.Build())
	}
	s.SetWorkloads(all)
	return s
}

// arrival is one step of a walk.
type arrival struct {
	n   uint64
	due int64
}

// walker is Walker or OwnedWalker.
type walker interface {
	Next() (n uint64, due int64, ok bool)
}

// take gives at most limit arrivals of a walk.
func take(w walker, limit int) []arrival {
	var all []arrival
	for len(all) < limit {
		n, due, ok := w.Next()
		if !ok {
			break
		}
		all = append(all, arrival{n, due})
	}
	return all
}

// append adds an epoch to a table that only a test has.
func (o *Ownership) append(first uint64, weights []uint32) error {
	next, err := o.followedBy(first, NewSplit(weights))
	if err == nil {
		*o = *next
	}
	return err
}

// abandoned is the number of sessions of a phase of closed load that nobody plays any more: the quota of the slots whose
// member lost its share.
func abandoned(c *Course, phase int) (n uint64) {
	for i, owner := range c.slots[phase].owner {
		if owner < 0 {
			n += c.phases[phase].Iterations(uint32(i) + 1)
		}
	}
	return n
}
