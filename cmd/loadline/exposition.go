package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/coordinator"
)

const (
	metricsUsage = "loopback address `HOST:PORT` to serve numbers for Prometheus on; port 0 takes a free one (default: none)"
	// metricsType is the form of what is served.
	metricsType = "text/plain; version=0.0.4; charset=utf-8"
	// metricsWait bounds everything about one request for them.
	metricsWait = 10 * time.Second
)

// sample is one number for Prometheus.
type sample struct {
	name, kind, help string
	label, value     string // one label at most
	number           float64
}

// coordinatorSamples are those of a coordinator.
func coordinatorSamples(c coordinator.Counts) []sample {
	samples := []sample{{name: "loadline_agents", kind: "gauge", help: "agents that hold a lease", number: float64(c.Agents)}}
	var runs []sample
	for state, n := range c.Runs {
		runs = append(runs, sample{"loadline_runs", "gauge", "runs that are known, by state", "state", lower(state, "RUN_STATE_"), float64(n)})
	}
	slices.SortFunc(runs, func(a, b sample) int { return strings.Compare(a.value, b.value) })
	return append(samples, runs...)
}

// agentSamples are those of an agent.
func agentSamples(c agent.Counts) []sample {
	const refused = "requests that met a ceiling of the agent's owner"
	leased := 0.0
	if c.Leased {
		leased = 1
	}
	samples := []sample{
		{name: "loadline_requests_total", kind: "counter", help: "requests handed to a driver", number: float64(c.Sent)},
		{name: "loadline_requests_in_flight", kind: "gauge", help: "requests under way", number: float64(c.InFlight)},
		{"loadline_requests_refused_total", "counter", refused, "ceiling", "in_flight", float64(c.OverInFlight)},
		{"loadline_requests_refused_total", "counter", refused, "ceiling", "rate", float64(c.OverRate)},
		{name: "loadline_lease_valid", kind: "gauge", help: "1 while the agent holds a lease", number: leased},
	}
	if c.Run != "" {
		samples = append(samples, sample{"loadline_run_info", "gauge", "the run that the agent prepares or plays", "run", c.Run, 1})
	}
	return samples
}

// processSamples are those of any process.
func processSamples() []sample {
	memory := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(memory)
	return []sample{
		{"loadline_build_info", "gauge", "always 1", "version", buildVersion().Version, 1},
		{name: "go_goroutines", kind: "gauge", help: "goroutines", number: float64(runtime.NumGoroutine())},
		{name: "go_memory_bytes", kind: "gauge", help: "memory that the Go runtime has taken from the system", number: float64(memory[0].Value.Uint64())},
	}
}

// writeSamples writes numbers in the text form of Prometheus; those of one name follow each other.
func writeSamples(w io.Writer, samples []sample) {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	for i, s := range samples {
		if i == 0 || samples[i-1].name != s.name {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", s.name, s.help, s.name, s.kind)
		}
		label := ""
		if s.label != "" {
			label = "{" + s.label + `="` + quote.Replace(s.value) + `"}`
		}
		fmt.Fprintf(w, "%s%s %s\n", s.name, label, strconv.FormatFloat(s.number, 'g', -1, 64))
	}
}

// checkMetricsListener refuses addresses that others reach: there are no credentials on it.
func checkMetricsListener(address string) error {
	if address == "" {
		return nil
	}
	at, err := parseHostPort("metrics-listen", address)
	if err == nil && !at.loopback() {
		err = fmt.Errorf("--metrics-listen %s: it has no credentials and serves loopback alone; write 127.0.0.1:%d and let a collector on this machine fetch it", address, at.port)
	}
	return err
}

// metricsServer serves numbers for Prometheus. The zero value serves none.
type metricsServer struct {
	server   *http.Server
	listener net.Listener
	serving  sync.WaitGroup
}

// serveMetrics serves what gather gives, and the process's own; an empty address serves nothing.
func serveMetrics(address string, gather func() []sample) (*metricsServer, error) {
	m := &metricsServer{}
	if address == "" {
		return m, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, badInput("cannot listen: %w; choose another address: --metrics-listen 127.0.0.1:0 takes a free port", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		var page bytes.Buffer
		writeSamples(&page, append(gather(), processSamples()...))
		w.Header().Set("Content-Type", metricsType)
		_, _ = w.Write(page.Bytes()) // whoever asked has left
	})
	m.listener = listener
	m.server = &http.Server{Handler: mux, ReadTimeout: metricsWait, WriteTimeout: metricsWait, IdleTimeout: metricsWait, MaxHeaderBytes: maxHeader}
	m.serving.Go(func() { _ = m.server.Serve(listener) }) // it ends by close alone
	return m, nil
}

// announce prints where the numbers are.
func (m *metricsServer) announce(out io.Writer) {
	if m.server != nil {
		fmt.Fprintf(out, "metrics at http://%s/metrics\n", m.listener.Addr())
	}
}

// close ends the server.
func (m *metricsServer) close() {
	if m.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if m.server.Shutdown(ctx) != nil {
		_ = m.server.Close() // the process ends
	}
	m.serving.Wait()
}
