package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

// idleCommand starts this program again as the server of idle streams.
const idleCommand = "idle-stream-server"

const idleScenario = `name: idle
targets: [{name: api, url: "http://%s/v1", protocol: openai-chat, model: any}]
workloads:
  - {name: chat, target: api, synthetic: {input_tokens: {fixed: 16}, output_tokens: {fixed: 64}}}
load: [{name: open, closed: {users: %d}, duration: %s}]
limits: {max_in_flight: 20000}
drain: 100ms
`

// idled is what the tools took for one stream, by tool, in bytes.
type idled map[string][]float64

// runIdle compares what one open stream costs in memory: a server answers with the head and one event, and then nothing.
func runIdle(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("idle", flag.ContinueOnError)
	streams := fs.Int("streams", 2000, "streams open at once")
	lasting := fs.Duration("for", 4*time.Second, "time that they are open, whole seconds")
	rounds := fs.Int("rounds", 3, "rounds, each with every tool once")
	only := fs.String("only", "wrk,loadline,oha,h2load,hey,vegeta,k6", "tools, by comma")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *streams < 10 || *streams > 4000 || *lasting < 2*time.Second || *lasting > time.Minute || *lasting%time.Second != 0 || *rounds < 1 || *rounds > 20 {
		return errors.New("flags out of range: --streams 10 to 4000, --for 2s to 1m in whole seconds, --rounds 1 to 20")
	}
	if err := known(*only, ""); err != nil {
		return err
	}
	openFiles()
	if err := b.build(ctx); err != nil {
		return err
	}
	c := &comparison{b: b, lasting: *lasting, wanted: chosen(*only)}
	if err := c.prepare(ctx, false); err != nil {
		return err
	}
	c.client, c.server = cores()
	each := idled{}
	for round := range *rounds {
		for _, p := range peers() {
			if _, there := c.found[p.name]; !there || !c.wanted(p.name) || p.name == "bare" {
				continue
			}
			cost, err := c.idle(ctx, p, *streams)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(b.out, "%s, round %d: %v\n", p.name, round+1, err)
				continue
			}
			each[p.name] = append(each[p.name], cost)
		}
	}
	return each.print(b.out, *streams, *rounds)
}

// idle is what one more stream takes, in bytes: the peak with all less that with one, by their number.
func (c *comparison) idle(ctx context.Context, p peer, streams int) (float64, error) {
	one, _, err := c.idlePeak(ctx, p, 1)
	if err != nil {
		return 0, err
	}
	all, open, err := c.idlePeak(ctx, p, streams)
	if err != nil {
		return 0, err
	}
	if open != streams {
		return 0, fmt.Errorf("%d of %d streams were open at once", open, streams)
	}
	return (float64(all) - float64(one)) / float64(streams-1), nil
}

// idlePeak is the peak memory of a tool with so many streams, and how many the server had open at once.
func (c *comparison) idlePeak(ctx context.Context, p peer, streams int) (peak uint64, open int, err error) {
	dir, err := os.MkdirTemp(c.b.dir, "idle-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	server, err := c.b.serveIdle(ctx, c.server)
	if err != nil {
		return 0, 0, err
	}
	asked := call{kind: kind{name: "idle", users: streams}, tool: c.found[p.name].path, host: server.host, dir: dir, lasting: c.lasting, sessions: 1}
	asked.url = "http://" + server.host + "/v1/chat/completions"
	err = asked.files()
	if err == nil && p.name == "loadline" {
		err = os.WriteFile(asked.file("load.yaml"), fmt.Appendf(nil, idleScenario, asked.host, streams, c.lasting), 0o600)
	}
	var took spent
	if err == nil {
		// Tools end with other statuses than 0 where nothing was answered in full, and may wait for answers.
		took, err = c.b.spend(ctx, p.load(asked), p.env, c.client, c.lasting+2*overtime)
	}
	open, stopErr := server.stop()
	return took.peak, open, errors.Join(err, stopErr)
}

func (i idled) print(w io.Writer, streams, rounds int) error {
	fmt.Fprintf(w, "\nidle: %d streams with one event and then nothing, %d rounds; the peak of memory with all less that with one\n", streams, rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "tool\tKB a stream\tlowest\thighest\t")
	for _, p := range peers() {
		if v := i[p.name]; len(v) > 0 {
			slices.Sort(v)
			fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t\n", p.name, middle(v)/1e3, v[0]/1e3, v[len(v)-1]/1e3)
		}
	}
	t.Flush()
	if len(i) == 0 {
		return errors.New("none of the tools chosen is there")
	}
	return nil
}

// idleServer is a running server of idle streams.
type idleServer struct {
	cmd  *exec.Cmd
	host string
	out  *bufio.Reader
}

func (b *bench) serveIdle(ctx context.Context, on place) (*idleServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &idleServer{cmd: exec.CommandContext(ctx, self, idleCommand)}
	on.confine(s.cmd)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	if s.host = strings.TrimSpace(line); err != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		return nil, fmt.Errorf("the server of idle streams did not say its address: %w", err)
	}
	return s, nil
}

// stop ends the server and returns the most streams that it had open at once.
func (s *idleServer) stop() (most int, err error) {
	s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(grace, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	_, err = fmt.Fscan(s.out, &most)
	return most, errors.Join(err, s.cmd.Wait())
}

// runIdleServer says its ADDRESS on w, and when ctx ends the most streams that were open at once.
func runIdleServer(ctx context.Context, w io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, ln.Addr()); err != nil {
		return err
	}
	var mu sync.Mutex
	open, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		open += n
		most = max(most, open)
	}
	go func() {
		<-ctx.Done()
		ln.Close()
	}()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			runtime.Gosched() // out of files for a moment
			continue
		}
		go idleStream(conn, count)
	}
	mu.Lock()
	defer mu.Unlock()
	_, err = fmt.Fprintln(w, most)
	return err
}

// idleStream answers the first request of a connection with the head and one event, and then waits for its end.
func idleStream(conn net.Conn, count func(int)) {
	defer conn.Close()
	buf := make([]byte, 2048)
	if n, err := conn.Read(buf); n == 0 || err != nil {
		return
	}
	count(1)
	defer count(-1)
	if _, err := io.WriteString(conn, streamHead+fmt.Sprintf("%x\r\n%s\r\n", len(tokenEvent), tokenEvent)); err != nil {
		return
	}
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}
