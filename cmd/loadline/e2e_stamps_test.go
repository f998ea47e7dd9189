package main

import (
	"runtime"
	"strings"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestSeriesOfTheKernelsStamps: read_lag is there wherever the system stamps what comes, the versions of ttft_service
// and itl only on request, and all of them in every phase and in the text; over HTTP/2 and gRPC as over HTTP/1.1; gRPC asks for its services before the clock is set to the start.
func TestSeriesOfTheKernelsStamps(t *testing.T) {
	t.Parallel()
	web := serveSim(t, nil)
	_, service := serveGRPC(t, nil)
	text := `name: stamps
targets:
  - {name: chat, url: WEB/v1, protocol: openai-chat, model: m}
  - {name: chat2, url: WEB/v1, protocol: openai-chat, model: m, connections: {http: http2}}
  - {name: service, url: GRPC, protocol: grpc}
workloads:
  - {name: talk, target: chat, synthetic: {input_tokens: {fixed: 5}, output_tokens: {fixed: 6}}}
  - {name: talk2, target: chat2, synthetic: {input_tokens: {fixed: 5}, output_tokens: {fixed: 6}}}
  - {name: call, target: service, grpc: {method: loadline.sim.v1.GeneratorService/Generate, message: {count: 5}}}
load:
  - {name: one, open: {rate: 100}, sessions: 50, workloads: [talk]}
  - {name: two, at: 0s, open: {rate: 100}, sessions: 50, workloads: [call]}
  - {name: three, at: 0s, open: {rate: 100}, sessions: 50, workloads: [talk2]}
` + everyArrival
	text = strings.NewReplacer("WEB", web.root, "GRPC", service).Replace(text)
	for _, wire := range []bool{false, true} {
		scenario, want := text, map[string]bool{"read_lag": true}
		if wire {
			scenario += "capture: {wire: true}\nslo: [p50(itl_wire) < 10s]\n"
			want["ttft_wire"], want["itl_wire"] = true, true
		}
		p := playThrough(t, files{"s.yaml": scenario})
		p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
		for _, name := range []string{"read_lag", "ttft_wire", "itl_wire"} {
			got := seriesIn(p.summary, name, "one", "talk")
			if expected := want[name] && runtime.GOOS == "linux"; (got.GetCount() > 0) != expected {
				t.Errorf("capture.wire %t: %s has %d values", wire, name, got.GetCount())
			}
			for phase, workload := range map[string]string{"two": "call", "three": "talk2"} {
				if n := seriesIn(p.summary, name, phase, workload).GetCount(); (n > 0) != (got.GetCount() > 0) {
					t.Errorf("%s has %d values, and %d of %s", name, got.GetCount(), n, workload)
				}
			}
			if shown := strings.Contains(p.out.String(), name); shown != (got.GetCount() > 0) {
				t.Errorf("%s stands in the text: %t\n%s", name, shown, &p.out)
			}
		}
		for stamped, own := range map[string]string{"ttft_wire": "ttft_service", "itl_wire": "itl"} {
			a, b := seriesIn(p.summary, stamped, "one", "talk"), seriesIn(p.summary, own, "one", "talk")
			if a.GetCount() > b.GetCount() || stamped == "ttft_wire" && a.GetMax() > b.GetMax() {
				t.Errorf("%s has %d values up to %d, %s %d up to %d", stamped, a.GetCount(), a.GetMax(), own, b.GetCount(), b.GetMax())
			}
		}
	}
}

// seriesIn is a series of one phase and workload; one without values where there is none.
func seriesIn(s *pb.Summary, name, phase, workload string) *pb.SeriesSummary {
	for _, e := range s.GetSeries() {
		if e.GetName() == name && e.GetPhase() == phase && e.GetWorkload() == workload {
			return e
		}
	}
	return &pb.SeriesSummary{}
}
