package scenario_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Defaults are filled in once, and filling them in again changes nothing.
func TestNormalize(t *testing.T) {
	s := parse(t, smallest)
	target, workload, phase := s.GetTargets()[0], s.GetWorkloads()[0], s.GetLoad()[0]
	for name, ok := range map[string]bool{
		"seed":         s.GetSeed() == 1,
		"names":        target.GetName() == "target" && workload.GetName() == "workload" && workload.GetTarget() == "target" && phase.GetName() == "phase-1",
		"timeouts":     target.GetTimeouts().GetConnect().GetSeconds() == 5 && target.GetTimeouts().GetFirstToken().GetSeconds() == 60 && target.GetTimeouts().GetStall().GetSeconds() == 30 && target.GetTimeouts().GetTotal().GetSeconds() == 600,
		"drain":        s.GetDrain().GetSeconds() == 30,
		"limits":       s.GetLimits().GetMaxInFlight() == 10_000 && s.GetLimits().GetMaxLateness().GetNanos() == 250_000_000,
		"capture":      s.GetCapture().GetRecords() == 200 && s.GetCapture().HasBodies() && s.GetCapture().GetBodies() == 0,
		"tags":         s.GetTagRequests() && !s.GetPrecise(),
		"http":         workload.GetHttp().GetMethod() == "GET" && workload.GetWeight() == 1 && !workload.HasStream(),
		"arrivals":     phase.GetOpen().GetArrivals() == pb.Arrivals_ARRIVALS_CONSTANT && phase.HasDiscard(),
		"token limit":  !target.HasTokenLimitField(),
		"nothing else": !target.HasTls() && !target.HasAuth() && !s.HasOrphan() && len(s.GetSlo()) == 0,
	} {
		if !ok {
			t.Errorf("%s: %v", name, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := randomScenario(t)
		scenario.Normalize(s)
		once := proto.Clone(s)
		scenario.Normalize(s)
		if !proto.Equal(s, once) {
			t.Fatalf("%v\n%v", once, s)
		}
	})
}

// A scenario that came through the API is checked as one from a file: objectives may come as text
// or as fields, later fields and unknown fields are refused, and the message stays as it is.
func TestCheck(t *testing.T) {
	valid := func() *pb.Scenario {
		s := parse(t, smallest)
		s.SetSlo([]*pb.Objective{pb.Objective_builder{Expression: proto.String("error_rate < 1%")}.Build()})
		return s
	}
	sources := func(url string, addresses ...string) func(*pb.Scenario) {
		return func(s *pb.Scenario) {
			s.GetTargets()[0].SetUrl(url)
			s.GetTargets()[0].SetConnections(pb.Connections_builder{SourceAddresses: addresses}.Build())
		}
	}
	for _, good := range []string{"unix:///run/s", "unix:///run/s:/v1", "http://[::1]:8000/v1", "http://[::1]"} {
		s := valid()
		s.GetTargets()[0].SetUrl(good)
		if ps := scenario.Check(s); len(ps) > 0 {
			t.Errorf("%s: %v", good, ps)
		}
	}
	s := valid()
	before := proto.Clone(s)
	if ps := scenario.Check(s); len(ps) > 0 || !proto.Equal(s, before) {
		t.Fatalf("%v\n%v", ps, s)
	}
	for name, c := range map[string]struct {
		spoil func(*pb.Scenario)
		want  string
	}{
		"nothing":     {func(s *pb.Scenario) { proto.Reset(s) }, "targets: is missing"},
		"later field": {func(s *pb.Scenario) { s.SetCost(&pb.Cost{}) }, "cost: is not in this version"},
		"max connections of grpc": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetProtocol(pb.Protocol_PROTOCOL_GRPC)
			s.GetTargets()[0].SetUrl("grpc://127.0.0.1:1")
			s.GetTargets()[0].SetConnections(pb.Connections_builder{Max: proto.Uint32(257)}.Build())
		}, "targets[0].connections: a gRPC target has at most 256 connections"},
		"source addresses of grpc": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetProtocol(pb.Protocol_PROTOCOL_GRPC)
			s.GetTargets()[0].SetUrl("grpc://127.0.0.1:1")
			s.GetTargets()[0].SetConnections(pb.Connections_builder{SourceAddresses: []string{"127.0.0.2"}}.Build())
		}, "targets[0].connections: http, streams and source_addresses are for HTTP"},
		"warm in vain": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetConnections(pb.Connections_builder{Policy: pb.ConnectionPolicy_CONNECTION_POLICY_PER_REQUEST.Enum(), Warm: proto.Uint32(1)}.Build())
		}, "targets[0].connections.warm: opens connections that the policy lets nobody use again"},
		"warm above max": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetConnections(pb.Connections_builder{Max: proto.Uint32(1), Warm: proto.Uint32(2)}.Build())
		}, "targets[0].connections.warm: is more than max"},
		"http version of grpc": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetProtocol(pb.Protocol_PROTOCOL_GRPC)
			s.GetTargets()[0].SetUrl("grpc://127.0.0.1:1")
			s.GetTargets()[0].SetConnections(pb.Connections_builder{Http: pb.HttpVersion_HTTP_VERSION_HTTP2.Enum()}.Build())
		}, "targets[0].connections: http, streams and source_addresses are for HTTP"},
		"streams over HTTP/1.1": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetConnections(pb.Connections_builder{Http: pb.HttpVersion_HTTP_VERSION_HTTP1.Enum(), Streams: proto.Uint32(2)}.Build())
		}, "targets[0].connections.streams: is for HTTP/2"},
		"socket without a path":   {func(s *pb.Scenario) { s.GetTargets()[0].SetUrl("unix://s") }, "targets[0].url: names no absolute path of a socket"},
		"socket with a query":     {func(s *pb.Scenario) { s.GetTargets()[0].SetUrl("unix:///s:/v1?a") }, "targets[0].url: must end with its path"},
		"socket with a long path": {func(s *pb.Scenario) { s.GetTargets()[0].SetUrl("unix:///" + strings.Repeat("s", 107)) }, "longer than the 107 bytes"},
		"socket with TLS": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetUrl("unix:///s")
			s.GetTargets()[0].SetTls(&pb.Tls{})
		}, "targets[0].tls: a Unix socket is spoken to without TLS"},
		"socket of grpc": {func(s *pb.Scenario) {
			s.GetTargets()[0].SetProtocol(pb.Protocol_PROTOCOL_GRPC)
			s.GetTargets()[0].SetUrl("unix:///s")
		}, "targets[0].url: unix:// is for HTTP"},
		"source addresses":           {sources("http://h", "127.0.0.2", "x"), "source_addresses[1]: is not an IP address"},
		"source address of everyone": {sources("http://h", "0.0.0.0"), "source_addresses[0]: is not the address of one machine"},
		"source address twice":       {sources("http://h", "127.0.0.2", "::ffff:127.0.0.2"), "source_addresses[1]: is there already"},
		"source address of a socket": {sources("unix:///s", "127.0.0.2"), "a Unix socket has none"},
		"unknown choice":             {func(s *pb.Scenario) { s.GetTargets()[0].SetProtocol(99) }, "unknown choice 99"},
		"unknown field": {func(s *pb.Scenario) {
			s.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9999, protowire.VarintType), 1))
		}, "does not know"},
		"bad objective": {func(s *pb.Scenario) { s.GetSlo()[0].SetExpression("p99(ttf) < 1s") }, "slo[0]: "},
		"contradiction": {func(s *pb.Scenario) { scenario.Normalize(s); s.GetSlo()[0].SetBound(0.5) }, "different things"},
		"fields alone": {func(s *pb.Scenario) {
			scenario.Normalize(s)
			s.GetSlo()[0].SetMetric("none")
			s.GetSlo()[0].ClearExpression()
		}, "none"},
		"empty objective": {func(s *pb.Scenario) { s.SetSlo([]*pb.Objective{{}}) }, "slo[0]: the expression is empty"},
		"deep body":       {func(s *pb.Scenario) { s.GetWorkloads()[0].SetBody(deep(100)) }, "nested deeper than 32"},
		"not UTF-8":       {func(s *pb.Scenario) { s.SetName("\xff") }, "not UTF-8"},
		"not a number": {func(s *pb.Scenario) {
			s.GetWorkloads()[0].SetBody(&structpb.Struct{Fields: map[string]*structpb.Value{
				"a": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(math.NaN())}}),
			}})
		}, "body: holds a number that is not finite"},
	} {
		s := valid()
		c.spoil(s)
		ps := scenario.Check(s)
		if len(ps) == 0 || !strings.Contains(ps.Error(), c.want) {
			t.Errorf("%s: %v", name, ps)
		}
		for _, p := range ps {
			if p.Line != 0 || p.Column != 0 || p.File != "" || p.Excerpt != "" {
				t.Errorf("%s: a place without a document: %#v", name, p)
			}
		}
	}
	if ps := scenario.Check(nil); len(ps) == 0 {
		t.Error("nil is a scenario")
	}
}

// What a message holds beyond the limits of its lists and maps is told once, beside everything
// else, and never read.
func TestExcess(t *testing.T) {
	s := parse(t, smallest)
	s.SetSlo(slices.Repeat([]*pb.Objective{pb.Objective_builder{Expression: proto.String("p99(nonsense) <")}.Build()}, 20_000))
	s.GetWorkloads()[0].SetGood(slices.Repeat([]*pb.Objective{{}}, 33))
	s.GetWorkloads()[0].GetHttp().SetExpectStatus(make([]uint32, 65))
	headers := map[string]*pb.HeaderValue{}
	for i := range 65 {
		headers[fmt.Sprint("bad name ", i)] = &pb.HeaderValue{}
	}
	s.GetTargets()[0].SetHeaders(headers)
	s.SetAbort([]*pb.AbortCondition{{}})
	var got []string
	for _, p := range scenario.Check(s) {
		got = append(got, p.Path+": "+p.Message)
	}
	want := []string{
		"targets[0].headers: has 65 entries; the most is 64",
		"workloads[0].http.expect_status: has 65 elements; the most is 64",
		"workloads[0].good: has 33 elements; the most is 32",
		"slo: has 20,000 elements; the most is 256",
		"abort[0]: the expression is empty",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if len(s.GetSlo()) != 20_000 {
		t.Error("the message was changed")
	}
	s = parse(t, smallest)
	s.SetLoad(slices.Repeat(s.GetLoad(), 1001))
	s.SetTargets(slices.Repeat(s.GetTargets(), 65))
	if ps := scenario.Check(s); len(ps) != 2 || ps[0].Path != "targets" || ps[1].Path != "load" {
		t.Errorf("needed lists beyond their limits: %v", ps)
	}
}

func deep(n int) *structpb.Struct {
	s := &structpb.Struct{}
	for range n {
		s = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(s)}}
	}
	return s
}

func TestFiles(t *testing.T) {
	s := parse(t, `
name: files
targets: [{name: m, url: "http://h", protocol: openai-chat, model: m, tls: {ca_file: ca.pem}, auth: {bearer: {file: key}}}, {name: h, url: "http://h", protocol: http}]
workloads:
  - {name: a, target: m, dataset: {file: a.jsonl}}
  - {name: b, target: h, http: {body_file: b.bin, path: "/{{row.id}}", dataset: {file: c.jsonl}}}
  - {name: c, target: m, synthetic: {input_tokens: {fixed: 1}}}
load: [{open: {rate: 1}, duration: 1s}]
`)
	want := []scenario.File{{"workloads[0].dataset.file", "a.jsonl"}, {"workloads[1].http.body_file", "b.bin"}, {"workloads[1].http.dataset.file", "c.jsonl"}}
	got := scenario.Files(s)
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
}

// Documents that YAML parsers have tripped over.
func TestOddDocuments(t *testing.T) {
	want := digest(t, smallest)
	for name, text := range map[string]string{
		"byte order mark": "\ufeff" + smallest,
		"line ends":       strings.ReplaceAll(smallest, "\n", "\r\n"),
		"document start":  "---" + smallest + "...\n",
		"JSON with tabs":  "{\n\t\"name\": \"a\",\n\t\"targets\": [{\"url\": \"http://127.0.0.1\", \"protocol\": \"http\"}],\n\t\"workloads\": [{\"http\": {\"path\": \"/p\"}}],\n\t\"load\": [{\"open\": {\"rate\": 5.0}, \"duration\": \"60s\"}]\n}",
	} {
		if got := digest(t, text); got != want {
			t.Errorf("%s: another digest", name)
		}
	}
	body := `"\u2028 \u0085 \ud83d\ude00 ` + "\u2028 \u0085 \u007f 😀" + ` \/ \b"`
	s := parse(t, `{"name":"a","targets":[{"url":"http://h","protocol":"http"}],"workloads":[{"http":{"body":`+body+`}}],"load":[{"open":{"rate":1},"duration":"1s"}]}`)
	if got := s.GetWorkloads()[0].GetHttp().GetBody(); got != "\u2028 \u0085 😀 \u2028 \u0085 \u007f 😀 / \b" {
		t.Errorf("body %q", got)
	}
}

func TestLimits(t *testing.T) {
	many := func(n int, item string) string { return "[" + strings.Repeat(item+", ", n) + "]" }
	for name, c := range map[string]struct{ set, want string }{
		"targets":   {"targets=" + many(65, "{url: \"http://h\", protocol: http}"), "has 65 elements; the most is 64"},
		"workloads": {"workloads=" + many(257, "{http: {path: /}}"), "has 257 elements; the most is 256"},
		"phases":    {"load=" + many(1001, "{open: {rate: 1}, duration: 1s}"), "has 1,001 elements; the most is 1,000"},
		"name":      {"name=" + strings.Repeat("é", 129), "has 129 characters; the most is 128"},
	} {
		_, err := scenario.Parse(scenario.Source{Data: []byte(smallest)}, c.set)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.300v", name, err)
		}
	}
	big := smallest + "# " + strings.Repeat("x", scenario.MaxSource)
	_, err := scenario.Parse(scenario.Source{Name: "big.yaml", Data: []byte(big)})
	if err == nil || !strings.Contains(err.Error(), "big.yaml: the file has 1,04") {
		t.Errorf("size: %v", err)
	}
}

// Whatever it reads, Parse ends soon, never panics, and gives a scenario or problems with a place.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/errors/*.[yj]*", examplesDir + "/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, "load[0].open.rate=80")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		s, err := scenario.Parse(scenario.Source{Name: "fuzz.yaml", Data: data}, set)
		if err == nil {
			checkAccepted(t, s)
			return
		}
		var ps scenario.Problems
		if !errors.As(err, &ps) || len(ps) == 0 || len(ps) > scenario.MaxProblems+1 || s != nil {
			t.Fatalf("%T with %d problems", err, len(ps))
		}
		for _, p := range ps {
			if p.Message == "" || p.Line < 0 || p.Column < 0 || len([]rune(p.Excerpt)) > 500 {
				t.Fatalf("%#v", p)
			}
		}
	})
}

func checkAccepted(t *testing.T, s *pb.Scenario) {
	t.Helper()
	back, err := scenario.Parse(scenario.Source{Data: scenario.Marshal(s)})
	if err != nil {
		t.Fatalf("%v\n%s", err, scenario.Marshal(s))
	}
	if scenario.Digest(s, nil) != scenario.Digest(back, nil) {
		t.Fatalf("%v\n%v", s, back)
	}
}

func BenchmarkParse(b *testing.B) {
	data := readFile(b, examplesDir+"/chat-launch.yaml")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scenario.Parse(scenario.Source{Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestUnixURL(t *testing.T) {
	for url, want := range map[string][3]string{
		"unix:///run/s":        {"/run/s", "", "yes"},
		"unix:///run/s:/v1":    {"/run/s", "/v1", "yes"},
		"unix:///run/s:/":      {"/run/s", "/", "yes"},
		"unix:///a:b:/v1:/w":   {"/a:b", "/v1:/w", "yes"},
		"unix://":              {"", "", "yes"},
		"http://unix:/run/s":   {"", "", "no"},
		"unix:/run/s":          {"", "", "no"},
		"http+unix://%2Frun/s": {"", "", "no"},
	} {
		socket, base, ok := scenario.UnixURL(url)
		if socket != want[0] || base != want[1] || ok != (want[2] == "yes") {
			t.Errorf("%s: %q, %q, %v", url, socket, base, ok)
		}
	}
}
