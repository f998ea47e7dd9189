package judge

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// sample is what all phases together did in one second.
type sample struct {
	second           uint64
	requests, events float64
	open             float64
}

// rooflineUse says how near the run came to its machine's roofline; nil: none is known.
//
// A request and an event each take their part of the processors: where R requests/s or E events/s use
// them up, r and v use r/R + v/E of them. Open streams cost memory and sockets instead and stand alone.
func rooflineUse(r *merge.Run) *pb.RooflineUse {
	h := r.Header()
	if !h.HasRoofline() {
		return nil
	}
	limits := h.GetRoofline()
	samples, window := rooflineSamples(r), averageSeconds(r)
	if n := len(samples); n > 0 {
		window = min(window, samples[n-1].second+1-samples[0].second)
	}
	requests, events := part(0, limits.GetRequestsPerSecond()), part(0, limits.GetEventsPerSecond())
	processors, open := 0.0, 0.0
	var sum sample
	from := 0
	for _, s := range samples {
		sum.requests, sum.events = sum.requests+s.requests, sum.events+s.events
		for ; samples[from].second+window < s.second+1; from++ {
			sum.requests, sum.events = sum.requests-samples[from].requests, sum.events-samples[from].events
		}
		perRequest, perEvent := sum.requests/float64(window), sum.events/float64(window)
		now, also := part(perRequest, limits.GetRequestsPerSecond()), part(perEvent, limits.GetEventsPerSecond())
		processors = max(processors, now.GetShare()+also.GetShare())
		if now.GetMost() > requests.GetMost() {
			requests = now
		}
		if also.GetMost() > events.GetMost() {
			events = also
		}
		open = max(open, s.open)
	}
	streams := part(open, float64(limits.GetStreams()))
	b := pb.RooflineUse_builder{
		Share: max(processors, streams.GetShare()), Requests: requests, Events: events, Streams: streams, WindowSeconds: window,
	}
	if limits.HasMeasuredTime() {
		b.MeasuredTime = limits.GetMeasuredTime().AsTime().Format(time.RFC3339)
	}
	if limits.GetTtftServiceP50Us() > 0 {
		b.TtftServiceFloorP50 = new(limits.GetTtftServiceP50Us())
	}
	if limits.GetTtftServiceP99Us() > 0 {
		b.TtftServiceFloorP99 = new(limits.GetTtftServiceP99Us())
	}
	return b.Build()
}

// part holds a figure against a limit; one that is not a number above 0 is not known.
func part(most, limit float64) *pb.RooflinePart {
	b := pb.RooflinePart_builder{Most: most}
	if limit > 0 && !math.IsInf(limit, 0) {
		b.Limit, b.Share = &limit, new(most/limit)
	}
	return b.Build()
}

// rooflineSamples is the run second by second, as far as there was load to be judged. In those seconds
// discarded phases count too, for they take as much of the machine. Sums are whole numbers far below
// 2^53, so adding and taking away is exact.
func rooflineSamples(r *merge.Run) []sample {
	var out []sample
	for s := range r.JudgedSeconds() {
		out = append(out, sample{
			second: s.Second, requests: float64(s.Requests), events: float64(s.Events), open: float64(s.Open),
		})
	}
	return out
}

// averageSeconds is how long rates are averaged: a request and its events are counted in the second in
// which it ends, though they took as long as it was open.
func averageSeconds(r *merge.Run) uint64 {
	longest := r.Whole().Histogram(measure.E2EService).Quantile(0.99)
	return max(rooflineSeconds, (longest+999_999)/1_000_000)
}

// saturated says that the run came too near to the roofline.
func (e evidence) saturated() string {
	if e.use.GetShare() <= rooflineVoid {
		return ""
	}
	return fmt.Sprintf("the run used %s of what this machine can do as a generator (%s), more than 90%%, so the generator's limit cannot be told "+
		"from the target's; lower the rate, or use a faster machine; calibrate again if the machine was busy then",
		Quantity(e.use.GetShare(), UnitShare), useWords(e.use))
}

// rooflineNote warns before that.
func rooflineNote(use *pb.RooflineUse) []string {
	if share := use.GetShare(); share <= rooflineWarn || share > rooflineVoid {
		return nil
	}
	return []string{fmt.Sprintf("the run used %s of what this machine can do as a generator (%s); above 90%% a run is not valid",
		Quantity(use.GetShare(), UnitShare), useWords(use))}
}

func useWords(use *pb.RooflineUse) string {
	var out []string
	for _, p := range []struct {
		part *pb.RooflinePart
		unit string
	}{{use.GetRequests(), "requests/s"}, {use.GetEvents(), "events/s"}, {use.GetStreams(), "open streams"}} {
		if p.part.HasShare() && p.part.GetMost() > 0 {
			out = append(out, fmt.Sprintf("%s of %s %s", Quantity(p.part.GetShare(), UnitShare), Quantity(p.part.GetLimit(), UnitTokens), p.unit))
		}
	}
	return strings.Join(out, ", ")
}
