package report

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/parquet-go/parquet-go"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestWriteWindows(t *testing.T) {
	r, _ := played(t, chat(), drowned, "a1", "a2")
	var b bytes.Buffer
	if err := WriteWindows(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "windows.csv", b.Bytes())
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) (sum int) {
		for i, head := range rows[0] {
			if head == name {
				for _, row := range rows[1:] {
					n := 0
					fmt.Sscan(row[i], &n)
					sum += n
				}
			}
		}
		return sum
	}
	if column("due") != 1250 || column("shed") != 300 || column("started") != 950 {
		t.Errorf("the rows sum to %d due, %d shed, %d started", column("due"), column("shed"), column("started"))
	}
}

func TestDisarm(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "hold": "hold", "=1+1": "'=1+1", "+a": "'+a", "-a": "'-a", "@a": "'@a", "a=1": "a=1", "\t=1": "'\t=1",
	} {
		if got := disarm(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// The log opens with the library, and its tags add up to the run's own distributions.
func TestWriteHlog(t *testing.T) {
	r, _ := played(t, chat(), healthy, "a1", "a2")
	var b bytes.Buffer
	if err := WriteHlog(&b, r); err != nil {
		t.Fatal(err)
	}
	reader := hdrhistogram.NewHistogramLogReader(&b)
	sums := map[string]*hdrhistogram.Histogram{}
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		if sums[h.Tag()] == nil {
			sums[h.Tag()] = hdrhistogram.New(1, 3_600_000_000, 3)
		}
		if dropped := sums[h.Tag()].Merge(h); dropped > 0 {
			t.Errorf("%d values of %s do not fit", dropped, h.Tag())
		}
	}
	for k, g := range r.Groups() {
		name := fmt.Sprintf("%s/%s/ttft", chat().GetLoad()[k.Phase].GetName(), chat().GetWorkloads()[k.Workload].GetName())
		own := g.Histogram(measure.TTFT)
		if sums[name] == nil {
			t.Fatalf("the log has no %s", name)
		}
		// The library reports the bucket's upper edge, whatever the largest value was.
		count, p99 := uint64(sums[name].TotalCount()), uint64(sums[name].ValueAtQuantile(99))
		if count != own.Count() || p99 != hist.BucketOf(own.Quantile(0.99)).High {
			t.Errorf("%s: %d values with p99 %d in the log, %d with %d in the run", name, count, p99, own.Count(), own.Quantile(0.99))
		}
	}
}

// With one phase and one workload the tag is the name of the series alone.
func TestHlogTagOfASimpleRun(t *testing.T) {
	r, _ := played(t, mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 5, time.Second)}), healthy, "a1")
	var b bytes.Buffer
	if err := WriteHlog(&b, r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\nTag=ttft,") || strings.Contains(b.String(), "hold") {
		t.Errorf("the log is\n%s", b.String())
	}
}

func inOrder(windows []*pb.Window) iter.Seq2[*pb.Window, error] {
	return func(yield func(*pb.Window, error) bool) {
		for _, w := range windows {
			if !yield(w, nil) {
				return
			}
		}
	}
}

func records(agent string, n uint64, records ...*pb.RequestRecord) *pb.Window {
	return pb.Window_builder{RunId: mergetest.RunID, Agent: agent, Sequence: n, Records: records}.Build()
}

func TestWriteRequests(t *testing.T) {
	h := mergetest.Header(chat(), "a1", "a2")
	windows := []*pb.Window{
		records("a1", 1,
			pb.RequestRecord_builder{Phase: 1, Workload: 1, Arrival: 7, DueUs: 5_000_000, DispatchedUs: 0, ConnectedUs: 12, SentUs: 40, FirstByteUs: 900,
				FirstTokenUs: 950, LastTokenUs: 2000, EndUs: 2010, ContentEvents: 5, InputTokens: 9, OutputTokens: 6, Status: 200, NewConnection: true, Body: "hi"}.Build(),
			pb.RequestRecord_builder{Phase: 0, Arrival: 3, Slot: 4, Epoch: 1, Turn: 2, DueUs: 10, DispatchedUs: 1, ConnectedUs: -1, SentUs: -1, FirstByteUs: -1,
				FirstTokenUs: -1, LastTokenUs: -1, EndUs: 77, Class: "connect", Error: "connection refused"}.Build()),
		records("a2", 1),
		records("a2", 2, pb.RequestRecord_builder{Class: "canceled", EndUs: -1}.Build()),
	}
	var b bytes.Buffer
	if err := WriteRequests(&b, h, h.GetScenario(), inOrder(windows)); err != nil {
		t.Fatal(err)
	}
	got, err := parquet.Read[Row](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	us := func(n int64) *int64 { return &n }
	want := []Row{
		{Agent: "a1", Phase: "hold", Workload: "golden", Target: "chat", Arrival: 7, DueUS: 5_000_000, DispatchedUS: us(0), ConnectedUS: us(12), SentUS: us(40),
			FirstByteUS: us(900), FirstTokenUS: us(950), LastTokenUS: us(2000), EndUS: us(2010), ContentEvents: 5, InputTokens: 9, OutputTokens: 6,
			Outcome: "succeeded", Status: 200, NewConnection: true, Body: "hi"},
		{Agent: "a1", Phase: "warm-up", Workload: "short-questions", Target: "chat", Arrival: 3, Slot: 4, Epoch: 1, Turn: 2, DueUS: 10, DispatchedUS: us(1), EndUS: us(77),
			Outcome: "failed", Class: "connect", Error: "connection refused"},
		{Agent: "a2", Phase: "warm-up", Workload: "short-questions", Target: "chat", DispatchedUS: us(0), ConnectedUS: us(0), SentUS: us(0), FirstByteUS: us(0),
			FirstTokenUS: us(0), LastTokenUS: us(0), Outcome: "canceled", Class: "canceled"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the rows are\n%+v\nwant\n%+v", got, want)
	}
	var again bytes.Buffer
	if err := WriteRequests(&again, h, h.GetScenario(), inOrder(windows)); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("written again, the file has other bytes: %v", err)
	}
}

func TestWriteRequestsEnds(t *testing.T) {
	h := mergetest.Header(chat(), "a1")
	torn := errors.New("the journal is torn")
	err := WriteRequests(&bytes.Buffer{}, h, h.GetScenario(), func(yield func(*pb.Window, error) bool) { yield(nil, torn) })
	if !errors.Is(err, torn) {
		t.Errorf("the error is %v", err)
	}
	err = WriteRequests(&bytes.Buffer{}, h, h.GetScenario(), inOrder([]*pb.Window{records("a1", 1, pb.RequestRecord_builder{Phase: 9}.Build())}))
	if err == nil || !strings.Contains(err.Error(), "phase 9") {
		t.Errorf("the error is %v", err)
	}
	var b bytes.Buffer
	if err := WriteRequests(&b, h, h.GetScenario(), inOrder(nil)); err != nil || b.Len() == 0 {
		t.Errorf("a run without records: %d bytes, %v", b.Len(), err)
	}
}

func TestWritePlanText(t *testing.T) {
	ramp := mergetest.Open("climb", 5, 2*time.Minute)
	ramp.GetOpen().ClearRate()
	ramp.GetOpen().SetRamp(pb.Ramp_builder{From: new(5.0), To: new(50.0)}.Build())
	s := mergetest.Scenario([]*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 5, 30*time.Second)), ramp, mergetest.Open("hold", 50, 2*time.Minute),
		pb.Phase_builder{Name: new("users"), Closed: pb.ClosedLoad_builder{Users: new(uint32(64))}.Build(), Sessions: new(uint64(500))}.Build(),
	})
	s.SetName("chat-launch")
	for name, o := range map[string]TextOptions{"80": {Width: 80}, "160": {Width: 160}, "80-color": {Width: 80, Color: true}, "72-ascii": {Width: 72, ASCII: true}} {
		var b bytes.Buffer
		if err := WritePlanText(&b, plan(), s, o); err != nil {
			t.Fatal(err)
		}
		golden(t, "plan-"+name+".txt", b.Bytes())
		checkLines(t, b.String(), o)
	}
}

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 30 * time.Second: "30s", 2 * time.Minute: "2m", 90 * time.Second: "1m30s", time.Hour: "1h", 90 * time.Minute: "1h30m",
		10 * time.Minute: "10m", 1500 * time.Microsecond: "2ms", time.Hour + time.Second: "1h0m1s",
	} {
		if got := length(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

// A plan of closed load alone has no chart.
func TestPlanWithoutRate(t *testing.T) {
	s := mergetest.Scenario([]*pb.Phase{pb.Phase_builder{
		Name: new("users"), Closed: pb.ClosedLoad_builder{Users: new(uint32(4))}.Build(), Duration: durationpb.New(time.Minute),
	}.Build()})
	p := pb.Plan_builder{Duration: durationpb.New(time.Minute), Phases: []*pb.PlannedPhase{
		pb.PlannedPhase_builder{Name: "users", Users: 4, Duration: durationpb.New(time.Minute)}.Build(),
	}}.Build()
	var b bytes.Buffer
	if err := WritePlanText(&b, p, s, TextOptions{}); err != nil || strings.Contains(b.String(), "rate") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
