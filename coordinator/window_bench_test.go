//go:build linux

package coordinator

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// crowdAgents is how many agents BenchmarkWindow has.
const crowdAgents = 250

// BenchmarkWindow takes windows of 20 series from many agents, one of each a second: decoding, sequence, check, journal with its checkpoints
// and compaction, merge, live numbers, acknowledgement. One operation is one window. Beside the time it reports the CPU time,
// which counts what the journal's and the collector's goroutines do at the same time. The network is not in it.
func BenchmarkWindow(b *testing.B) {
	r := crowdRun(b)
	service := ingest.New(func(string) (ingest.Run, bool) { return r, true }, nil, slog.New(slog.DiscardHandler))
	end := make(chan struct{})
	var living sync.WaitGroup
	living.Go(func() {
		for {
			select {
			case <-r.mail.wake:
				r.publish()
			case <-end:
				return
			}
		}
	})
	crowd, lines := mergetest.NewCrowd(), make([]*line, crowdAgents)
	for i := range lines {
		lines[i] = newLine(b.Context(), r.header.GetRunId(), i)
		living.Go(func() {
			if err := service.PushWindows(lines[i]); err != nil {
				b.Error(err)
			}
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for i := range b.N {
		lines[i%crowdAgents].send(b, crowd, i/crowdAgents)
		if (i+1)%crowdAgents == 0 || i == b.N-1 {
			for n := range min(crowdAgents, i+1) {
				lines[n].settle()
			}
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.StopTimer()
	for _, l := range lines {
		close(l.up)
	}
	close(end)
	living.Wait()
	if err := r.journal.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// crowdRun is a run of crowdAgents agents that has begun. Its loop does not run: there is nobody to give orders to.
func crowdRun(b *testing.B) *liveRun {
	text := "name: crowd\ntargets: [{name: t, url: \"http://127.0.0.1:9/v1\", protocol: openai-chat, model: m}]\nworkloads:\n"
	for i := range mergetest.CrowdWorkloads {
		text += fmt.Sprintf("  - {name: w%d, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}\n", i)
	}
	text += "load: [{name: main, open: {rate: 1}, duration: 24h}]\nslo: [\"p99(ttft) < 800ms\"]\nabort: [\"p99(ttft) > 1h for 10s\"]\n"
	s, err := scenario.Parse(scenario.Source{Name: "crowd", Data: []byte(text)})
	if err != nil {
		b.Fatal(err)
	}
	e, err := bus.StartEmbedded()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.Stop)
	log := slog.New(slog.DiscardHandler)
	conn, err := bus.Connect("", "coordinator", log, e.Option())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	folder := b.TempDir()
	c, err := New(b.Context(), Config{Bus: conn, Folder: func(id string) string { return filepath.Join(folder, id) }, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	load, err := schedule.Compile(s)
	if err != nil {
		b.Fatal(err)
	}
	var agents []*fleet.Agent
	for i := range crowdAgents {
		agents = append(agents, &fleet.Agent{Info: pb.AgentInfo_builder{Name: crowdName(i), Cores: 1}.Build(), Incarnation: 1})
	}
	p, err := c.plan(s, load, "", agents)
	if err != nil {
		b.Fatal(err)
	}
	r, err := c.open(pb.StartRunRequest_builder{Scenario: s}.Build(), p, load, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.cancel)
	r.start.Store(1)
	return r
}

func crowdName(i int) string { return fmt.Sprintf("a%05d", i) }

// cpuTime is the CPU time of this process so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// line is the coordinator's end of an agent's stream without the network: messages are decoded and encoded as gRPC does it.
type line struct {
	grpc.ServerStream
	ctx    context.Context
	window *pb.Window
	number int
	up     chan []byte
	acked  chan uint64
	last   uint64
}

func newLine(ctx context.Context, run string, number int) *line {
	hello := pb.Hello_builder{RunId: run, Agent: crowdName(number), Incarnation: 1}.Build()
	l := &line{
		ctx: ctx, number: number, up: make(chan []byte, 2), acked: make(chan uint64, 64),
		window: pb.Window_builder{RunId: run, Agent: crowdName(number), Incarnation: 1}.Build(),
	}
	first, _ := proto.Marshal(pb.PushWindowsRequest_builder{Hello: hello}.Build())
	l.up <- first
	return l
}

// send sends the window of a second.
func (l *line) send(b *testing.B, crowd *mergetest.Crowd, second int) {
	l.window.SetSequence(uint64(second + 1))
	l.window.SetStartUs(int64(second) * 1_000_000)
	l.window.SetEndUs(int64(second+1) * 1_000_000)
	crowd.Fill(l.window, l.number)
	data, err := proto.Marshal(pb.PushWindowsRequest_builder{Window: l.window}.Build())
	if err != nil {
		b.Fatal(err)
	}
	l.up <- data
}

// settle waits until the last window is acknowledged.
func (l *line) settle() {
	for l.last < l.window.GetSequence() {
		l.last = <-l.acked
	}
}

// Context implements the stream.
func (l *line) Context() context.Context { return l.ctx }

// Recv implements the stream.
func (l *line) Recv() (*pb.PushWindowsRequest, error) {
	data, ok := <-l.up
	if !ok {
		return nil, io.EOF
	}
	m := &pb.PushWindowsRequest{}
	return m, proto.Unmarshal(data, m)
}

// Send implements the stream.
func (l *line) Send(m *pb.PushWindowsResponse) error {
	if _, err := proto.Marshal(m); err != nil {
		return err
	}
	l.acked <- m.GetAcknowledged()
	return nil
}
