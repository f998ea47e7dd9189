// Package null is a server that does nothing, as fast as it can: it reads a request and writes an
// answer that was prepared. So what a run against it finds is the limit of the generator and not the
// target's. It knows just enough of HTTP/1.1 for that and must face nobody but loadline itself.
//
// A path with /stream/EVENTS/GAP in it is answered by a stream of so many content events, the first at
// once and one every GAP milliseconds, each a write of its own; with a gap of 0 everything is one
// write. Every other path is answered by two bytes.
package null

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// Limits on what is read and asked for.
const (
	// MaxRequest is the most bytes of a request: 64 KiB.
	MaxRequest = 64 << 10
	// MaxEvents of one stream, and MaxGap between two of them.
	MaxEvents = 100_000
	MaxGap    = time.Minute
)

// firstRead is the room that a connection begins with; it grows where a request is longer.
const firstRead = 2 << 10

// acceptPause is the wait after a connection could not be taken.
const acceptPause = time.Millisecond

// server holds what is prepared.
type server struct {
	small, head, event, last []byte
}

func newServer() *server {
	return &server{
		small: []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"),
		head:  []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
		event: chunk(`data: {"choices":[{"index":0,"delta":{"content":" word"}}]}` + "\n\n"),
		last:  append(chunk(`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n"), "0\r\n\r\n"...),
	}
}

func chunk(text string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(text), text) }

// Serve answers requests until the context ends; then it closes everything and returns nil.
func Serve(ctx context.Context, listener net.Listener) error {
	s := newServer()
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			conns.Go(func() { s.serve(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("null server: %w", err)
		default: // out of descriptors, most likely: some are given back when streams end
			time.Sleep(acceptPause)
		}
	}
}

// serve answers the requests of one connection. What cannot be read or written ends it without a word.
func (s *server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf, held := make([]byte, firstRead), 0
	for {
		n, err := conn.Read(buf[held:])
		if err != nil {
			return
		}
		held += n
		for {
			length, path := request(buf[:held])
			if length == 0 {
				break
			}
			if err := s.answer(ctx, conn, path); err != nil {
				return
			}
			held = copy(buf, buf[length:held])
		}
		if held == len(buf) {
			if held >= MaxRequest {
				return
			}
			buf = append(buf, make([]byte, held)...)
		}
	}
}

// request finds the first request in what was read: its length and its path; 0 where it is not complete.
func request(data []byte) (length int, path []byte) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	head := data[:end]
	length = end + 4 + body(head)
	if length > len(data) {
		return 0, nil
	}
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	_, rest, _ := bytes.Cut(line, []byte(" "))
	path, _, _ = bytes.Cut(rest, []byte(" "))
	return length, path
}

// body is the length that a head announces; more than MaxRequest counts as that, which is never complete.
func body(head []byte) int {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || n < 0 {
				return MaxRequest
			}
			return min(n, MaxRequest)
		}
	}
	return 0
}

func (s *server) answer(ctx context.Context, conn net.Conn, path []byte) error {
	events, gap, ok := asked(path)
	if !ok {
		_, err := conn.Write(s.small)
		return err
	}
	out := append(append(make([]byte, 0, len(s.head)+len(s.event)), s.head...), s.event...)
	if gap == 0 {
		for range events - 1 {
			out = append(out, s.event...)
		}
		_, err := conn.Write(append(out, s.last...))
		return err
	}
	if _, err := conn.Write(out); err != nil {
		return err
	}
	return s.trickle(ctx, conn, events-1, gap)
}

// trickle writes the events after the first, each at its own moment counted from now, so that one
// that is late moves none behind it.
func (s *server) trickle(ctx context.Context, conn net.Conn, events int, gap time.Duration) error {
	start := time.Now()
	timer := time.NewTimer(gap)
	defer timer.Stop()
	for i := range events {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := conn.Write(s.event); err != nil {
			return err
		}
		timer.Reset(time.Duration(i+2)*gap - time.Since(start))
	}
	_, err := conn.Write(s.last)
	return err
}

// asked reads /stream/EVENTS/GAP out of a path.
func asked(path []byte) (events int, gap time.Duration, ok bool) {
	_, rest, ok := bytes.Cut(path, []byte("/stream/"))
	if !ok {
		return 0, 0, false
	}
	first, rest, _ := bytes.Cut(rest, []byte("/"))
	second, _, _ := bytes.Cut(rest, []byte("/"))
	events, err := strconv.Atoi(string(first))
	if err != nil || events < 1 || events > MaxEvents {
		return 0, 0, false
	}
	ms, err := strconv.Atoi(string(second))
	gap = time.Duration(ms) * time.Millisecond
	if err != nil || ms < 0 || gap > MaxGap {
		return 0, 0, false
	}
	return events, gap, true
}
