package workload

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func message(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	m, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func rpc(r pb.GrpcRequest_builder) *pb.Scenario {
	return with(pb.Protocol_PROTOCOL_GRPC, pb.Workload_builder{Name: new("call"), Grpc: r.Build()}.Build())
}

// TestFixedMessage: a message without placeholders is made once, and the request holds nothing of it.
func TestFixedMessage(t *testing.T) {
	set := compile(t, rpc(pb.GrpcRequest_builder{
		Method: new("/a.B/C"), Message: message(t, map[string]any{"z": 1, "a": []any{"x\"\n", nil, true, 2.5}, "seed": "{{seed}}"}),
		Deadline: durationpb.New(time.Second), Compression: pb.Compression_COMPRESSION_GZIP.Enum(),
	}), nil)
	r, other := fill(t, set, 0, key(1)), fill(t, set, 0, key(2))
	if r.Call == nil || r.Call != other.Call || len(r.Body) > 0 || len(r.Ends) > 0 {
		t.Fatalf("%+v", r)
	}
	c := r.Call
	if got := string(c.Messages[0]); got != `{"a":["x\"\n",null,true,2.5],"seed":"42","z":1}` {
		t.Errorf("%s", got)
	}
	if c.Method != "a.B/C" || c.Place != "workloads[0].grpc" || c.List || !c.Gzip || c.Deadline != time.Second || !r.Stream {
		t.Errorf("%+v", c)
	}
}

// TestVaryingMessages: those with placeholders stand in the body one after the other, their values escaped.
func TestVaryingMessages(t *testing.T) {
	set := compile(t, rpc(pb.GrpcRequest_builder{
		Method: new("a.B/C"), Every: durationpb.New(time.Millisecond),
		Messages: []*structpb.Struct{
			message(t, map[string]any{"fixed": "x"}), message(t, map[string]any{`q"`: `say "{{row.q}}"`, "n": "{{arrival}}"}), message(t, nil),
			message(t, map[string]any{"deep": map[string]any{"list": []any{"{{turn}}", "{{row.n}}"}}}),
		},
		Metadata: map[string]*pb.HeaderValue{"X-Team": value("{{arrival}}")},
		Dataset:  pb.Dataset_builder{File: new("rows.jsonl")}.Build(),
	}), memory{"rows.jsonl": `{"q": "a\n\"b\"", "n": 7}` + "\n"})
	r := fill(t, set, 0, key(3))
	c := r.Call
	if string(c.Messages[0]) != `{"fixed":"x"}` || c.Messages[1] != nil || string(c.Messages[2]) != "{}" || c.Messages[3] != nil || !c.List || c.Every != time.Millisecond {
		t.Errorf("%+v", c)
	}
	if len(r.Ends) != 2 {
		t.Fatalf("%v", r.Ends)
	}
	if got := string(r.Body[:r.Ends[0]]); got != `{"n":"3","q\"":"say \"a\n\"b\"\""}` {
		t.Errorf("%s", got)
	}
	if got := string(r.Body[r.Ends[0]:r.Ends[1]]); got != `{"deep":{"list":["0","7"]}}` {
		t.Errorf("%s", got)
	}
	if headerOf(r, "x-team") != "3" || headerOf(r, "X-Loadline-Arrival") != "hold/3/0" || headerOf(r, "User-Agent") != "" {
		t.Errorf("%v", r.Header)
	}
}
