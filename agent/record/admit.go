package record

import (
	"slices"
	"strings"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// admit decides which series are kept when a scenario has more than limit: by the scenario
// alone, so that every agent keeps the same ones and none is merged from a part of the agents.
// It returns one set of bits for each pair, indexed by phase · workloads + workload. A series is
// given to every pair before the next series is, those that objectives name first.
func admit(s *pb.Scenario, limit int) []uint32 {
	return admitPairs(s, s.GetLoad(), limit)
}

// admitPairs is admit for phases that may not be those of the scenario.
func admitPairs(s *pb.Scenario, phases []*pb.Phase, limit int) []uint32 {
	workloads := len(s.GetWorkloads())
	out := make([]uint32, len(phases)*workloads)
	pairs := pairsOf(s, phases)
	likely := likelySeries(s)
	// What a workload is not expected to yield comes last and yields nothing as a rule.
	for _, expected := range []bool{true, false} {
		for _, series := range priority(s) {
			for _, p := range pairs {
				if likely[p.workload]&(1<<series) != 0 != expected {
					continue
				}
				if limit == 0 {
					return out
				}
				limit--
				out[int(p.phase)*workloads+int(p.workload)] |= 1 << series
			}
		}
	}
	return out
}

// priority is the order in which series are admitted.
func priority(s *pb.Scenario) []measure.Series {
	var order []measure.Series
	for _, o := range s.GetSlo() {
		if series, ok := measure.SeriesByName(o.GetMetric()); ok {
			order = append(order, series)
		}
	}
	order = append(order,
		measure.Lateness, measure.ReadLag, // decide validity
		measure.E2E, measure.TTFT, measure.TPOT, measure.ITL, measure.E2EFailed,
		measure.TTFTService, measure.E2EService, measure.MaxITL, measure.OutputTokens)
	order = append(order, measure.All()...)
	var seen uint32
	return slices.DeleteFunc(order, func(series measure.Series) bool {
		twice := seen&(1<<series) != 0
		seen |= 1 << series
		return twice
	})
}

// pairsOf returns the pairs of phase and workload that can have arrivals, in order.
func pairsOf(s *pb.Scenario, phases []*pb.Phase) []pair {
	var out []pair
	for i, phase := range phases {
		for j, w := range s.GetWorkloads() {
			if len(phase.GetWorkloads()) == 0 || slices.Contains(phase.GetWorkloads(), w.GetName()) {
				out = append(out, pair{uint32(i), uint32(j)})
			}
		}
	}
	return out
}

const (
	streamSeries uint32 = 1<<measure.TTFT | 1<<measure.TTFTService | 1<<measure.TTFO | 1<<measure.ITL |
		1<<measure.MaxITL | 1<<measure.TPOT | 1<<measure.TokensPerEvent | wireSeries
	wireSeries  uint32 = 1<<measure.TTFTWire | 1<<measure.ITLWire
	callSeries  uint32 = 1 << measure.RoundTrip
	tokenSeries uint32 = 1<<measure.InputTokens | 1<<measure.OutputTokens
)

// everySeries are all that there are.
func everySeries() (set uint32) {
	for _, s := range measure.All() {
		set |= 1 << s
	}
	return set
}

// likelySeries returns for each workload the series that its protocol can yield.
func likelySeries(s *pb.Scenario) []uint32 {
	targets := make(map[string]*pb.Target, len(s.GetTargets()))
	for _, t := range s.GetTargets() {
		targets[t.GetName()] = t
	}
	out := make([]uint32, 0, len(s.GetWorkloads()))
	for _, w := range s.GetWorkloads() {
		series := everySeries()
		t := targets[w.GetTarget()]
		if !strings.HasPrefix(t.GetUrl(), "https:") && !strings.HasPrefix(t.GetUrl(), "grpcs:") {
			series &^= 1 << measure.TLS
		}
		switch t.GetProtocol() {
		case pb.Protocol_PROTOCOL_HTTP:
			series &^= streamSeries | tokenSeries | callSeries
		case pb.Protocol_PROTOCOL_GRPC:
			series &^= tokenSeries | 1<<measure.TPOT | 1<<measure.TokensPerEvent | 1<<measure.ReadLag | wireSeries
			if len(w.GetGrpc().GetMessages()) == 0 {
				series &^= callSeries
			}
		default:
			series &^= callSeries
		}
		if !s.GetCapture().GetWire() {
			series &^= wireSeries
		}
		if !w.GetStream() {
			series &^= streamSeries | callSeries
		}
		out = append(out, series)
	}
	return out
}

// streams tells for each workload whether its answers are streams of tokens.
func streams(s *pb.Scenario) []bool {
	out := make([]bool, 0, len(s.GetWorkloads()))
	for _, series := range likelySeries(s) {
		out = append(out, series&(1<<measure.TTFT) != 0)
	}
	return out
}
