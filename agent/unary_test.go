//go:build unix

package agent

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	httpdriver "github.com/loadline/loadline/agent/driver/http"
	"github.com/loadline/loadline/agent/record"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
)

const nullServer = "LOADLINE_TEST_NULL_SERVER"

// TestNullServer is no test: BenchmarkUnary runs it in a process of its own. It answers each read that it
// makes with the same bytes until its standard input is closed.
func TestNullServer(t *testing.T) {
	if os.Getenv(nullServer) == "" {
		t.Skip("it serves BenchmarkUnary")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				buf := make([]byte, 4<<10)
				for _, err := nc.Read(buf); err == nil; _, err = nc.Read(buf) {
					if _, err := nc.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")); err != nil {
						return
					}
				}
			}()
		}
	}()
	fmt.Printf("serves at %s\n", l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l.Close()
}

// BenchmarkUnary plays what a worker plays for a plain request over 64 connections against a server in another
// process: fill in, exchange, record. It reports the CPU time of a request, the system's part included. For
// the same with wrk, see docs/performance.md.
func BenchmarkUnary(b *testing.B) {
	const workers = 64
	s, err := scenario.Parse(scenario.Source{Name: "bench", Data: []byte("name: bench\ntargets: [{url: 'http://" + startNull(b) + "', protocol: http}]\n" +
		"workloads: [{http: {method: POST, path: /echo, headers: {Content-Type: text/plain}, body: hello}}]\nload: [{open: {rate: 1}, duration: 1h}]\n")})
	if err != nil {
		b.Fatal(err)
	}
	set, err := workload.Compile(s, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	now := func() measure.Instant { return measure.Instant(time.Since(begin)) }
	driver, err := httpdriver.New(s.GetTargets()[0], httpdriver.Config{Now: now})
	if err != nil {
		b.Fatal(err)
	}
	defer driver.Close()
	recorder := record.New(record.Config{Scenario: s, Spans: []record.Span{{End: 1 << 62}}, Shards: 8, Records: 200})
	var n atomic.Uint64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for range workers {
		wg.Go(func() {
			var w worker
			for i := n.Add(1); i <= uint64(b.N); i = n.Add(1) {
				at := now()
				recorder.Due(0, 0, 1)
				recorder.Started(0, 0, at)
				o := &w.outcome
				o.Reset()
				o.ID.Number, o.Due = i, at
				key := workload.Key{RunID: "r1", Phase: "hold", ID: o.ID, Ordinal: i}
				if err := set.Fill(0, key, &w.request); err != nil {
					b.Error(err)
					return
				}
				driver.Do(b.Context(), &w.request, o)
				recorder.Record(o)
				recorder.SessionEnded(0, 0, o.Due, o.End, o.Class)
				if o.Class != "" {
					b.Error(o.Class, o.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/1e3/float64(b.N), "cpu-µs/op")
}

// startNull starts the null server and returns its address.
func startNull(b *testing.B) string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestNullServer$")
	cmd.Env = append(os.Environ(), nullServer+"=1", "GOMAXPROCS=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "serves at ")
	if err != nil || !ok {
		b.Fatalf("the server says %q: %v", line, err)
	}
	return addr
}

// cpuTime is the CPU time of this process.
func cpuTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
