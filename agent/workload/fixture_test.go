package workload

import (
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// chat is a scenario with one chat target and the given workloads.
func chat(workloads ...*pb.Workload) *pb.Scenario {
	return with(pb.Protocol_PROTOCOL_OPENAI_CHAT, workloads...)
}

// with is a scenario with one target of a protocol and the given workloads.
func with(protocol pb.Protocol, workloads ...*pb.Workload) *pb.Scenario {
	return pb.Scenario_builder{
		Seed: new(uint64(42)),
		Targets: []*pb.Target{pb.Target_builder{
			Name: new("chat"), Url: new("http://127.0.0.1:1/v1"), Protocol: &protocol, Model: new("small"),
		}.Build()},
		Workloads: workloads,
	}.Build()
}

func fixedLaw(n float64) *pb.Distribution { return pb.Distribution_builder{Fixed: &n}.Build() }

func lognormalLaw(median, p95 float64) *pb.Distribution {
	return pb.Distribution_builder{Lognormal: pb.Lognormal_builder{Median: &median, P95: &p95}.Build()}.Build()
}

// questions is a synthetic workload with a shared beginning of 8 tokens in 3 groups.
func questions() *pb.Workload {
	return pb.Workload_builder{Name: new("questions"), Synthetic: pb.Synthetic_builder{
		InputTokens: lognormalLaw(60, 200), OutputTokens: lognormalLaw(100, 300),
		SharedPrefix: pb.SharedPrefix_builder{Tokens: new(uint32(8)), Groups: new(uint32(3))}.Build(),
	}.Build()}.Build()
}

// golden is a data set workload over the file "rows.jsonl".
func golden(order pb.DatasetOrder) *pb.Workload {
	return pb.Workload_builder{Name: new("golden"), Dataset: pb.Dataset_builder{
		File: new("rows.jsonl"), Order: &order,
	}.Build()}.Build()
}

// echo is a plain HTTP workload.
func echo(r pb.HttpRequest_builder) *pb.Workload {
	return pb.Workload_builder{Name: new("echo"), Http: r.Build()}.Build()
}

func value(text string) *pb.HeaderValue { return pb.HeaderValue_builder{Value: &text}.Build() }

// memory is a set of files by path.
type memory map[string]string

func (m memory) open(path string) (io.ReaderAt, int64, error) {
	text, ok := m[path]
	if !ok {
		return nil, 0, errors.New("no such file")
	}
	return strings.NewReader(text), int64(len(text)), nil
}

// vault is a set of environment variables.
type vault map[string]string

func (v vault) secret(ref *pb.SecretRef) (string, error) {
	text, ok := v[ref.GetEnv()]
	if !ok {
		return "", errors.New("environment variable " + ref.GetEnv() + " is not set")
	}
	return text, nil
}

func compile(t testing.TB, s *pb.Scenario, files memory) *Set {
	t.Helper()
	set, err := Compile(proto.CloneOf(s), files.open, vault{"KEY": "sk-1"}.secret)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// key is arrival n of a phase, with the same ordinal in its workload.
func key(n uint64) Key {
	return Key{RunID: "run-1", Phase: "hold", ID: measure.ID{Number: n}, Ordinal: n}
}

func fill(t testing.TB, set *Set, w int, k Key) *Request {
	t.Helper()
	var r Request
	if err := set.Fill(w, k, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// headerOf is the value of a request's header.
func headerOf(r *Request, name string) string {
	for _, h := range r.Header {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// What arrival 17 of the seed 42 is asked, word for word.
const (
	goldenPrompt = `deal here great eye but army car girl but cut body horse got form`
	goldenTokens = `159`
)
