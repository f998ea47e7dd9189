package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// saturatorCommand starts this program again as the server for saturation.
const saturatorCommand = "saturation-server"

// countsSize is the size of the file that holds the counts.
const countsSize = 4096

// counts is what the server knows of a measurement; it lies in a file that both processes see, in the
// machine's byte order. Times are in nanoseconds.
type counts struct {
	Requests, Events, Conns uint64
	// First is when the first piece of work came, Last the end of the last, from the server's start.
	First, Last uint64
	// Busy and Idle are the server's CPU time between them with work and without, so that a server
	// that has to share its core is not taken for a slow one.
	Busy, Idle uint64
}

// moment is an instant from the server's start, and its CPU time at it.
type moment struct{ at, cpu time.Duration }

// turned notes that the server changed between work and idling at the moment now; idle says what it did
// since the moment since.
func (c *counts) turned(idle bool, since, now moment) {
	switch {
	case !idle:
		c.Last = uint64(now.at)
		c.Busy += uint64(now.cpu - since.cpu)
	case c.First == 0:
		c.First = uint64(now.at)
	default:
		c.Idle += uint64(now.cpu - since.cpu)
	}
}

// span is the time between the first piece of work and the end of the last.
func (c counts) span() time.Duration { return time.Duration(c.Last - c.First) }

// busy is the share of the server's CPU time in which it had work. Near 1 the server is the limit.
func (c counts) busy() float64 {
	if c.Busy == 0 {
		return 0
	}
	return float64(c.Busy) / float64(c.Busy+c.Idle)
}

// part is what the server writes at once.
type part struct {
	bytes  []byte
	events int
}

// parts is one answer.
type parts []part

const (
	unaryAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}"
	streamHead  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	tokenEvent  = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"null","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	lastEvents  = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"null","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
)

// newParts is the unary answer without events, and otherwise a stream of so many token events, each in
// one write, and an end.
func newParts(events, each int) parts {
	if events == 0 {
		return parts{{bytes: []byte(unaryAnswer)}}
	}
	chunk := func(text string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(text), text) }
	var p parts
	for left := events; left > 0; left -= each {
		n := min(left, max(each, 1))
		p = append(p, part{chunk(strings.Repeat(tokenEvent, n)), n})
	}
	p[0].bytes = append([]byte(streamHead), p[0].bytes...)
	return append(p, part{bytes: append(chunk(lastEvents), "0\r\n\r\n"...)})
}

// saturation is a running server.
type saturation struct {
	cmd    *exec.Cmd
	host   string
	counts string
}

// saturate starts the server on its own core. The caller stops it; it ends by itself after lifetime.
func (b *bench) saturate(ctx context.Context, k kind, lifetime time.Duration, on place) (*saturation, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &saturation{counts: filepath.Join(b.dir, "counts")}
	if err := os.WriteFile(s.counts, make([]byte, countsSize), 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, self, saturatorCommand, s.counts, lifetime.String(), k.protocol, strconv.Itoa(k.events), strconv.Itoa(k.each))
	on.confine(s.cmd)
	withParent(s.cmd)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if s.host = strings.TrimSpace(line); err != nil {
		s.stop()
		return nil, fmt.Errorf("the saturation server did not say its address: %w", err)
	}
	return s, nil
}

// stop ends the server, waits for it and returns its counts.
func (s *saturation) stop() (counts, error) {
	s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(grace, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.cmd.Wait()
	f, err := os.Open(s.counts)
	if err != nil {
		return counts{}, err
	}
	defer f.Close()
	var c counts
	return c, binary.Read(f, binary.NativeEndian, &c)
}
