package scenario_test

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// randomScenario draws a scenario that passes every check, with anything optional left out or not.
func randomScenario(t *rapid.T) *pb.Scenario {
	g := gen{t}
	s := pb.Scenario_builder{
		Name: proto.String(g.text("name", 1, 40)),
		Load: g.phases(),
	}.Build()
	for i := range rapid.IntRange(1, 3).Draw(t, "targets") {
		s.SetTargets(append(s.GetTargets(), g.target(i)))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "workloads") {
		s.SetWorkloads(append(s.GetWorkloads(), g.workload(i, s.GetTargets())))
	}
	if g.maybe("seed") {
		s.SetSeed(rapid.Uint64().Draw(t, "seed"))
	}
	if g.maybe("drain") {
		s.SetDrain(g.duration("drain", 0, time.Hour))
	}
	if g.maybe("precise") {
		s.SetPrecise(rapid.Bool().Draw(t, "precise"))
	}
	if g.maybe("capture") {
		s.SetCapture(pb.Capture_builder{
			Records: proto.Uint32(rapid.Uint32().Draw(t, "records")),
			Bodies:  proto.Float64(rapid.Float64Range(0, 1).Draw(t, "bodies")),
			Wire:    proto.Bool(rapid.Bool().Draw(t, "wire")),
		}.Build())
	}
	s.SetSlo(g.expressions("slo", []string{
		"error_rate<0.1%", "p99.9(e2e) < 1m30s", "mean( e2e )<=1.25ms", "rate(requests) > 1k", "goodput_share >= 0.95",
		"p95(session){phase=phase-0} < 10us", `max(e2e){workload=workload-0} < 2h`,
	}))
	s.SetGood(g.expressions("good", []string{"e2e < 500ms", "wait<=1.5s", "send < 3us"}))
	for _, o := range g.expressions("abort", []string{"error_rate > 20% for 10s", "error_rate > 0.5", "p50(e2e) > 3s for 1m30s"}) {
		s.SetAbort(append(s.GetAbort(), pb.AbortCondition_builder{Expression: proto.String(o.GetExpression())}.Build()))
	}
	return s
}

type gen struct{ t *rapid.T }

func (g gen) maybe(label string) bool { return rapid.Bool().Draw(g.t, label) }

// text draws text with everything that has ever troubled a YAML emitter.
func (g gen) text(label string, least, most int) string {
	chars := rapid.RuneFrom([]rune("abcXYZ019 .,:;-_#'\"\\{}[]&*!|>%@`~?=/<()é漢😀\u2028\ufeff"))
	return rapid.StringOfN(chars, least, most, -1).Filter(func(s string) bool {
		return !strings.Contains(s, "{{") && (least == 0 || strings.TrimSpace(s) == s)
	}).Draw(g.t, label)
}

// lines draws text of several lines, with tabs, ends and blanks anywhere.
func (g gen) lines(label string) string {
	return rapid.StringOf(rapid.RuneFrom([]rune("ab :#-\n\n\t\r\u0085é\"'\x01"))).Draw(g.t, label)
}

func (g gen) duration(label string, least, most time.Duration) *durationpb.Duration {
	unit := rapid.SampledFrom([]time.Duration{1, time.Microsecond, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(g.t, label+" unit")
	d := unit * time.Duration(rapid.Int64Range(0, 2000).Draw(g.t, label))
	return durationpb.New(min(max(d, least), most))
}

func (g gen) phases() []*pb.Phase {
	var ps []*pb.Phase
	for i := range rapid.IntRange(1, 4).Draw(g.t, "phases") {
		p := pb.Phase_builder{Name: proto.String(fmt.Sprintf("phase-%d", i)), Duration: g.duration("duration", time.Hour, 720*time.Hour)}.Build()
		if g.maybe("at") {
			p.SetAt(g.duration("at", 0, 100*time.Hour))
		}
		if i > 0 && g.maybe("discard") {
			p.SetDiscard(true)
		}
		g.load(p)
		ps = append(ps, p)
	}
	return ps
}

func (g gen) load(p *pb.Phase) {
	rate := rapid.Float64Range(0.001, 50)
	o := &pb.OpenLoad{}
	switch rapid.IntRange(0, 4).Draw(g.t, "shape") {
	case 0:
		o.SetRate(rate.Draw(g.t, "rate"))
	case 1:
		o.SetRamp(pb.Ramp_builder{From: proto.Float64(0), To: proto.Float64(rate.Draw(g.t, "to"))}.Build())
	case 2:
		o.SetSine(pb.Sine_builder{Mean: proto.Float64(50), Amplitude: proto.Float64(rate.Draw(g.t, "amplitude")), Period: g.duration("period", time.Second, time.Hour)}.Build())
	case 3:
		o.SetSpike(pb.Spike_builder{Base: proto.Float64(1), Peak: proto.Float64(rate.Draw(g.t, "peak")), Hold: g.duration("hold", 1, time.Minute)}.Build())
	case 4:
		p.SetClosed(pb.ClosedLoad_builder{Users: proto.Uint32(rapid.Uint32Range(1, 10_000).Draw(g.t, "users")), Think: g.think()}.Build())
		return
	}
	if g.maybe("gamma") {
		o.SetArrivals(pb.Arrivals_ARRIVALS_GAMMA)
		o.SetCv(rapid.Float64Range(0.1, 10).Draw(g.t, "cv"))
	}
	p.SetOpen(o)
}

func (g gen) think() *pb.DurationDistribution {
	switch rapid.IntRange(0, 2).Draw(g.t, "think") {
	case 0:
		return pb.DurationDistribution_builder{Fixed: g.duration("fixed", 0, 24*time.Hour)}.Build()
	case 1:
		return pb.DurationDistribution_builder{Exponential: pb.DurationExponential_builder{Mean: g.duration("mean", 1, 24*time.Hour)}.Build()}.Build()
	}
	return nil
}

func (g gen) target(i int) *pb.Target {
	t := pb.Target_builder{
		Name: proto.String(fmt.Sprintf("target-%d", i)), Url: proto.String("http://127.0.0.1:8000/v1"),
		Protocol: pb.Protocol_PROTOCOL_OPENAI_CHAT.Enum(), Model: proto.String(g.text("model", 1, 20)),
	}.Build()
	switch i {
	case 1:
		t.SetProtocol(pb.Protocol_PROTOCOL_HTTP)
	case 2:
		g.service(t)
	}
	if g.maybe("auth") {
		t.SetAuth(pb.Auth_builder{Bearer: pb.SecretRef_builder{Env: proto.String(g.text("env", 1, 9))}.Build()}.Build())
	}
	if t.GetProtocol() != pb.Protocol_PROTOCOL_GRPC { // metadata has fewer characters
		t.SetHeaders(g.headers())
	}
	return t
}

// service makes a target one of gRPC.
func (g gen) service(t *pb.Target) {
	t.SetProtocol(pb.Protocol_PROTOCOL_GRPC)
	t.SetUrl("grpcs://service.example.test")
	switch rapid.IntRange(0, 2).Draw(g.t, "described") {
	case 0:
		t.SetDescriptorSet(g.text("descriptor_set", 1, 20))
	case 1:
		t.SetProtoFiles([]string{g.text("proto", 1, 20)})
		t.SetImportPaths([]string{g.text("import", 1, 20)})
		t.SetAuthority("other.example.test:443")
	}
}

// call is a gRPC call.
func (g gen) call() *pb.GrpcRequest {
	r := pb.GrpcRequest_builder{Method: proto.String("demo.v1.Service/Method")}.Build()
	message := func() *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{g.text("field", 1, 5): g.value(3)}}
	}
	if g.maybe("several") {
		r.SetMessages([]*structpb.Struct{message(), message()})
		r.SetEvery(g.duration("every", 0, time.Hour))
	} else if g.maybe("message") {
		r.SetMessage(message())
	}
	if g.maybe("metadata") {
		r.SetMetadata(map[string]*pb.HeaderValue{"x-a": pb.HeaderValue_builder{Value: proto.String("b")}.Build(), "x-b-bin": pb.HeaderValue_builder{Value: proto.String("AAE=")}.Build()})
	}
	if g.maybe("deadline") {
		r.SetDeadline(g.duration("deadline", 1, 24*time.Hour))
		r.SetCompression(pb.Compression_COMPRESSION_GZIP)
	}
	return r
}

func (g gen) headers() map[string]*pb.HeaderValue {
	h := map[string]*pb.HeaderValue{}
	for range rapid.IntRange(0, 2).Draw(g.t, "headers") {
		name := rapid.StringMatching(`x-[a-z0-9!.#~]{1,4}`).Draw(g.t, "header")
		v := &pb.HeaderValue{}
		if g.maybe("plain") {
			v.SetValue(g.text("value", 0, 10))
		} else {
			v.SetFile(g.text("file", 1, 10))
		}
		h[name] = v
	}
	return h
}

func (g gen) workload(i int, targets []*pb.Target) *pb.Workload {
	target := rapid.SampledFrom(targets).Draw(g.t, "target")
	w := pb.Workload_builder{Name: proto.String(fmt.Sprintf("workload-%d", i)), Target: proto.String(target.GetName())}.Build()
	if target.GetProtocol() == pb.Protocol_PROTOCOL_HTTP {
		h := pb.HttpRequest_builder{Headers: g.headers()}.Build()
		if g.maybe("body") {
			h.SetBody(g.lines("body"))
		}
		w.SetHttp(h)
		w.SetChecks([]*pb.Check{pb.Check_builder{JsonPath: pb.JsonPathCheck_builder{Path: proto.String("$.a[0]"), Equals: g.value(3)}.Build()}.Build()})
		return w
	}
	if target.GetProtocol() == pb.Protocol_PROTOCOL_GRPC {
		w.SetGrpc(g.call())
		return w
	}
	if g.maybe("dataset") {
		w.SetDataset(pb.Dataset_builder{File: proto.String(g.text("dataset", 1, 20)), Order: pb.DatasetOrder_DATASET_ORDER_SHUFFLE.Enum()}.Build())
	} else {
		w.SetSynthetic(pb.Synthetic_builder{InputTokens: g.distribution()}.Build())
	}
	if g.maybe("extra") {
		w.SetBody(&structpb.Struct{Fields: map[string]*structpb.Value{g.text("key", 1, 5): g.value(3), "temperature": structpb.NewNumberValue(0)}})
	}
	return w
}

func (g gen) distribution() *pb.Distribution {
	number := rapid.Float64Range(1, 1e7)
	if g.maybe("normal") {
		return pb.Distribution_builder{Normal: pb.Normal_builder{Mean: proto.Float64(number.Draw(g.t, "mean")), Stddev: proto.Float64(0)}.Build()}.Build()
	}
	return pb.Distribution_builder{Empirical: pb.Empirical_builder{Values: rapid.SliceOfN(number, 1, 30).Draw(g.t, "values")}.Build()}.Build()
}

func (g gen) value(depth int) *structpb.Value {
	switch rapid.IntRange(0, 5).Draw(g.t, "kind") {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewBoolValue(g.maybe("bool"))
	case 2:
		return structpb.NewNumberValue(rapid.Float64Range(-1<<53, 1<<53).Draw(g.t, "number"))
	case 3:
		if depth > 0 {
			return structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{g.value(depth - 1), g.value(depth - 1)}})
		}
	case 4:
		if depth > 0 {
			return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{g.text("member", 0, 4): g.value(depth - 1)}})
		}
	}
	return structpb.NewStringValue(g.lines("string"))
}

func (g gen) expressions(label string, from []string) []*pb.Objective {
	var all []*pb.Objective
	for _, e := range rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(g.t, label) {
		all = append(all, pb.Objective_builder{Expression: proto.String(e)}.Build())
	}
	return all
}
