package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/coordinator"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestNumbersForPrometheus(t *testing.T) {
	var got bytes.Buffer
	writeSamples(&got, coordinatorSamples(coordinator.Counts{Agents: 3, Runs: map[pb.RunState]int{pb.RunState_RUN_STATE_RUNNING: 1, pb.RunState_RUN_STATE_COMPLETE: 2}}))
	writeSamples(&got, agentSamples(agent.Counts{Sent: 1_234_567, InFlight: 7, OverRate: 2, Leased: true, Run: "a\"b\\\n"}))
	want := `# HELP loadline_agents agents that hold a lease
# TYPE loadline_agents gauge
loadline_agents 3
# HELP loadline_runs runs that are known, by state
# TYPE loadline_runs gauge
loadline_runs{state="complete"} 2
loadline_runs{state="running"} 1
# HELP loadline_requests_total requests handed to a driver
# TYPE loadline_requests_total counter
loadline_requests_total 1.234567e+06
# HELP loadline_requests_in_flight requests under way
# TYPE loadline_requests_in_flight gauge
loadline_requests_in_flight 7
# HELP loadline_requests_refused_total requests that met a ceiling of the agent's owner
# TYPE loadline_requests_refused_total counter
loadline_requests_refused_total{ceiling="in_flight"} 0
loadline_requests_refused_total{ceiling="rate"} 2
# HELP loadline_lease_valid 1 while the agent holds a lease
# TYPE loadline_lease_valid gauge
loadline_lease_valid 1
# HELP loadline_run_info the run that the agent prepares or plays
# TYPE loadline_run_info gauge
loadline_run_info{run="a\"b\\\n"} 1
`
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &got, want)
	}
}

func TestNumbersAreServedOnLoopbackAlone(t *testing.T) {
	for address, allowed := range map[string]bool{
		"": true, "127.0.0.1:0": true, "localhost:0": true, "[::1]:7402": true,
		"0.0.0.0:0": false, ":7402": false, "192.0.2.1:1": false, "example.com:1": false, "127.0.0.1": false,
	} {
		if err := checkMetricsListener(address); (err == nil) != allowed {
			t.Errorf("%q: %v", address, err)
		}
	}
	m, err := serveMetrics("127.0.0.1:0", func() []sample { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	response, err := http.Get("http://" + m.listener.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(page), "go_goroutines ") || response.Header.Get("Content-Type") != metricsType {
		t.Errorf("%v %v: %s", err, response.Header, page)
	}
}
