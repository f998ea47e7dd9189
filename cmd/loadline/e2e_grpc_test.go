package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// serveGRPC serves a simulator by gRPC beside the one that serveSim serves, and gives its address.
func serveGRPC(t *testing.T, change func(*sim.Config)) (*sim.Server, string) {
	t.Helper()
	config := sim.Default()
	config.Fixed = sim.FixedLaw{}
	if change != nil {
		change(&config)
	}
	server, address := startSim(t, config, (*sim.Server).ServeGRPC)
	return server, "grpc://" + address
}

// TestGRPCBesideHTTP: a run over two agents loads an HTTP target and a gRPC target; both are reported apart, and each
// has seen every arrival of its own exactly once.
func TestGRPCBesideHTTP(t *testing.T) {
	t.Parallel()
	web := serveSim(t, nil)
	service, address := serveGRPC(t, nil)
	schema := read(t, "..", "..", "proto", "loadline", "sim", "v1", "sim.proto")
	text := `name: beside
targets:
  - {name: web, url: WEB, protocol: http}
  - {name: service, url: GRPC, protocol: grpc, proto_files: [sim.proto]}
workloads:
  - {name: page, target: web, http: {method: POST, path: /echo, body: hello}}
  - {name: tokens, target: service, grpc: {method: loadline.sim.v1.GeneratorService/Generate, message: {prompt: "{{row.q}}", count: 5}, dataset: {file: rows.jsonl}}}
  - {name: dialogue, target: service, grpc: {method: loadline.sim.v1.EchoService/Bidi, messages: [{text: "{{arrival}}"}, {text: b}], every: 1ms, metadata: {x-a: b}}}
load:
  - {name: p, open: {rate: 60}, sessions: 60}
slo:
  - max(ttft) < 1m
` + everyArrival
	p := playThrough(t, files{
		"s.yaml": strings.NewReplacer("WEB", web.root, "GRPC", address).Replace(text), "sim.proto": string(schema),
		"rows.jsonl": "{\"q\": \"one two\"}\n{\"q\": \"three\"}\n",
	}, "--quiet", "--agents", "2")
	p.wantVerdict(t, 0)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if r := p.summary.GetRequests(); r.GetSucceeded() != 60 {
		t.Errorf("%v, errors %v", r, p.summary.GetErrors())
	}
	truth := service.Truth()
	if truth.Routes["grpc_generate"].Completed != 20 || truth.Routes["grpc_echo"].Completed != 20 || truth.CompletionTokens != 100 {
		t.Errorf("%+v", truth.Routes)
	}
	for _, a := range service.Arrivals("") {
		if a.Count != 1 {
			t.Errorf("arrival %s came %d times", a.Arrival, a.Count)
		}
	}
	if n := len(service.Arrivals("")); n != 40 {
		t.Errorf("%d arrivals at the service", n)
	}
	var report strings.Builder
	report.WriteString(p.out.String())
	for _, name := range []string{"page", "tokens", "dialogue"} {
		if !strings.Contains(report.String(), name) {
			t.Errorf("the report does not show %s:\n%s", name, report.String())
		}
	}
}

// TestFailingGRPC: codes of the service are classes of the run, and its details stand in the example.
func TestFailingGRPC(t *testing.T) {
	t.Parallel()
	_, address := serveGRPC(t, fault(t, "status:code=429,retry_after=1s,p=1"))
	text := `name: failing
targets: [{url: GRPC, protocol: grpc}]
workloads: [{grpc: {method: loadline.sim.v1.EchoService/Unary, message: {text: a}}}]
load: [{open: {rate: 20}, sessions: 5}]
` + everyArrival
	p := playThrough(t, files{"s.yaml": strings.Replace(text, "GRPC", address, 1)}, "--quiet")
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	e := p.summary.GetErrors()
	if len(e) != 1 || e[0].GetClass() != "grpc_resource_exhausted" || e[0].GetCount() != 5 || !strings.Contains(e[0].GetExample(), `"retryDelay":"1s"`) {
		t.Errorf("errors %v", e)
	}
}

// TestGRPCProblems: what the service does not have is told before the load, and nothing is sent.
func TestGRPCProblems(t *testing.T) {
	t.Parallel()
	service, address := serveGRPC(t, nil)
	text := `name: wrong
targets: [{url: GRPC, protocol: grpc}]
workloads:
  - {name: a, grpc: {method: loadline.sim.v1.EchoService/Unari}}
  - {name: b, grpc: {method: loadline.sim.v1.EchoService/Unary, message: {txt: a}}}
load: [{open: {rate: 20}, sessions: 5}]
`
	dir := files{"s.yaml": strings.Replace(text, "GRPC", address, 1)}.write(t)
	p := execLoadline(t, dir, nil, "run", "s.yaml", "--out", "r", "--quiet")
	for _, want := range []string{"workloads[0].grpc.method", "did you mean Unary?", "workloads[1].grpc.message.txt", "did you mean text?"} {
		if all := p.out.String() + p.err.String(); !strings.Contains(all, want) {
			t.Errorf("%s\nlacks %q", all, want)
		}
	}
	if p.status == 0 || service.Truth().Routes["grpc_echo"].Begun != 0 {
		t.Errorf("exit status %d, truth %+v", p.status, service.Truth().Routes)
	}
}

// TestGRPCExamples: the examples run as they are.
func TestGRPCExamples(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"grpc.yaml", "mixed.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		p := playThrough(t, files{"s.yaml": strings.ReplaceAll(string(text), "duration: 8s", "sessions: 12") + everyArrival}, "--quiet")
		p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
		if p.summary.GetRequests().GetSucceeded() != 12 {
			t.Errorf("%s: %v %v", name, p.summary.GetRequests(), p.summary.GetErrors())
		}
	}
}
