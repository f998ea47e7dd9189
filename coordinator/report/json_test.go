package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func encode(t testing.TB, s *pb.Summary) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteJSON(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteJSON(t *testing.T) {
	all := summaries(t)
	for _, name := range names(all) {
		data := encode(t, all[name])
		golden(t, name+".json", data)
		if !json.Valid(data) {
			t.Errorf("%s is not JSON", name)
		}
		back, err := ReadJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if again := encode(t, back); !bytes.Equal(again, data) {
			t.Errorf("%s, read and written again:\n%s\nwant\n%s", name, again, data)
		}
		if name != "empty" && name != "hostile" && !proto.Equal(back, all[name]) {
			t.Errorf("%s reads back as another message", name)
		}
	}
}

// However a run's windows come, its summary has the same bytes.
func TestSummaryHasOneForm(t *testing.T) {
	r, sent := played(t, chat(), drowned, "a1", "a2", "a3")
	want := encode(t, judge.Summarize(r))
	windows := sent.All()
	for seed := range uint64(5) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(windows), func(i, j int) { windows[i], windows[j] = windows[j], windows[i] })
		again, err := merge.New(r.Header())
		for _, e := range []*pb.RunEvent{
			mergetest.Ended(22*time.Second, pb.RunState_RUN_STATE_COMPLETE), mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0),
		} {
			err = first(err, again.AddEvent(e))
		}
		for _, m := range sent.Totals {
			err = first(err, again.AddTotals(m))
		}
		for _, w := range append(windows, windows[:7]...) {
			err = first(err, again.AddWindow(w))
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(t, judge.Summarize(again)); !bytes.Equal(got, want) {
			t.Fatalf("another order gives another summary:\n%s", got)
		}
	}
}

func TestFloat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 1: "1", 40: "40", 0.1: "0.1", 1e20: "100000000000000000000", 1e21: "1e+21",
		0.000001: "0.000001", 1e-7: "1e-07", -2.5: "-2.5", 123456789.125: "123456789.125",
		math.NaN(): "null", math.Inf(1): "null", math.Inf(-1): "null",
	} {
		if got := float(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64().Draw(t, "v")
		var back float64
		if err := json.Unmarshal([]byte(float(v)), &back); err != nil || back != v {
			t.Fatalf("%v is written %s and reads back as %v: %v", v, float(v), back, err)
		}
	})
}

// Whatever a summary holds reads back as it was, once it holds every message.
func TestReadJSONIsTheInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &pb.Summary{}
		fill(t, s.ProtoReflect())
		var b, again bytes.Buffer
		if err := WriteJSON(&b, s); err != nil {
			t.Fatal(err)
		}
		back, err := ReadJSON(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%s", err, b.Bytes())
		}
		if !proto.Equal(s, back) {
			t.Fatalf("%v\nreads back as\n%v", s, back)
		}
		if err := WriteJSON(&again, back); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
			t.Fatalf("the second writing differs: %v", err)
		}
	})
}

// fill draws a value for every field.
func fill(t *rapid.T, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsList():
			for range rapid.IntRange(0, 2).Draw(t, "length") {
				l := m.Mutable(f).List()
				if f.Message() == nil {
					l.Append(draw(t, f))
					continue
				}
				e := l.NewElement()
				fill(t, e.Message())
				l.Append(e)
			}
		case f.Message() != nil:
			fill(t, m.Mutable(f).Message())
		case !f.HasPresence() || rapid.Bool().Draw(t, "has"):
			m.Set(f, draw(t, f))
		}
	}
}

func draw(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "string"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.DoubleKind:
		// −0 is written as 0.
		return protoreflect.ValueOfFloat64(rapid.Float64().Draw(t, "double") + 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.IntRange(0, f.Enum().Values().Len()-1).Draw(t, "enum")))
	}
	panic("a summary has fields of another kind: " + f.Kind().String())
}

func TestReadJSONRefuses(t *testing.T) {
	tests := map[string]struct{ data, want string }{
		"nothing":           {"", "read a summary: it ends in the middle"},
		"not JSON":          {"run", "invalid character"},
		"a list":            {"[]", `expected an object, found "["`},
		"unknown field":     {`{"verdicts": "pass"}`, `"verdicts": there is no such field`},
		"twice":             {`{"seed": 1, "seed": 1}`, "seed: it stands there twice"},
		"unknown choice":    {`{"verdict": "passed"}`, `verdict: "passed" is none of its choices`},
		"a long choice":     {`{"verdict": "VERDICT_PASS"}`, "none of its choices"},
		"a fraction":        {`{"seed": 1.5}`, "seed: expected a whole number, found the number 1.5"},
		"an exponent":       {`{"seed": 1e3}`, "expected a whole number"},
		"too large":         {`{"exit_status": 4294967296}`, "expected a whole number"},
		"below zero":        {`{"seed": -1}`, "expected a whole number"},
		"text for a number": {`{"seed": "1"}`, "seed: expected a whole number, found text"},
		"number for text":   {`{"run_id": 1}`, "run_id: expected a text, found the number 1"},
		"null for text":     {`{"run_id": null}`, "run_id: expected a text, found null"},
		"null for a list":   {`{"notes": null}`, "notes: expected a list, found null"},
		"null in a list":    {`{"notes": [null]}`, "notes[0]: expected a text, found null"},
		"deep":              {`{"phases": [{}, {"throughput": {"requests_per_second": true}}]}`, "phases[1].throughput.requests_per_second: expected a number, found true"},
		"infinite":          {`{"error_rate": 1e999}`, "expected a number"},
		"more":              {`{} {}`, "something follows its end"},
		"cut off":           {`{"phases": [{"name": "a"`, "phases[0]: it ends in the middle"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ReadJSON(strings.NewReader(test.data))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

// endless is a reader without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestReadJSONIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 64 MiB")
	}
	if _, err := ReadJSON(endless{}); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("the error is %v", err)
	}
}

func FuzzReadJSON(f *testing.F) {
	f.Add(encode(f, &pb.Summary{}))
	f.Add(encode(f, hostile()))
	f.Add([]byte(`{"slo":[{"observed":null,"low":1e-9,"high":2}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadJSON(bytes.NewReader(data))
		if err != nil {
			return
		}
		once := encode(t, s)
		back, err := ReadJSON(bytes.NewReader(once))
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if twice := encode(t, back); !bytes.Equal(once, twice) {
			t.Fatalf("written once:\n%s\nwritten twice:\n%s", once, twice)
		}
	})
}

func TestWritePlan(t *testing.T) {
	var b bytes.Buffer
	if err := WritePlan(&b, plan()); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json", b.Bytes())
}

func plan() *pb.Plan {
	seconds := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }
	return pb.Plan_builder{
		RunId: "run-1", ScenarioDigest: "d16e57", Seed: 42, Duration: seconds(270),
		Members: []*pb.Member{
			pb.Member_builder{Agent: "a1", Incarnation: 1, Weight: 3, MaxInFlight: 7500}.Build(),
			pb.Member_builder{Agent: "a2", Incarnation: 2, Weight: 1, MaxInFlight: 2500}.Build(),
		},
		Phases: []*pb.PlannedPhase{
			pb.PlannedPhase_builder{Name: "warm-up", Duration: seconds(30), Arrivals: 150, MemberArrivals: []uint64{113, 37}, Discard: true,
				WorkloadArrivals: []uint64{150}, ExpectedInputTokens: 33_000, ExpectedOutputTokens: 19_200}.Build(),
			pb.PlannedPhase_builder{Name: "climb", Start: seconds(30), Duration: seconds(120), Arrivals: 3_300, MemberArrivals: []uint64{2475, 825},
				WorkloadArrivals: []uint64{3300}, ExpectedInputTokens: 726_000.5, ExpectedOutputTokens: 422_400}.Build(),
			pb.PlannedPhase_builder{Name: "hold", Start: seconds(150), Duration: seconds(120), Arrivals: 6_000, MemberArrivals: []uint64{4500, 1500},
				WorkloadArrivals: []uint64{6000}, ExpectedInputTokens: 1_320_000, ExpectedOutputTokens: 768_000}.Build(),
			pb.PlannedPhase_builder{Name: "users", Start: seconds(270), Users: 64, MemberArrivals: []uint64{48, 16}}.Build(),
		},
	}.Build()
}

// full is a writer that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left on device")

func TestWritersReportErrors(t *testing.T) {
	r, sent := played(t, chat(), healthy, "a1")
	for name, err := range map[string]error{
		"json":     WriteJSON(full{}, &pb.Summary{}),
		"plan":     WritePlan(full{}, plan()),
		"text":     WriteText(full{}, &pb.Summary{}, TextOptions{}),
		"plantext": WritePlanText(full{}, plan(), chat(), TextOptions{}),
		"windows":  WriteWindows(full{}, r),
		"hlog":     WriteHlog(full{}, r),
		"requests": WriteRequests(full{}, r.Header(), r.Scenario(), inOrder(sent.All())),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
