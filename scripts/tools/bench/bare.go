package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bareCommand starts this program again as a client that reads streams and does nothing with them but
// look for the beginnings of events: what Go's net package can reach at the most.
const bareCommand = "bare-stream-client"

// runBare is that client; it prints the number of events.
func runBare(ctx context.Context, w io.Writer, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: " + bareCommand + " ADDRESS CONNECTIONS DURATION")
	}
	var conns int
	if _, err := fmt.Sscan(args[1], &conns); err != nil || conns < 1 || conns > maxUsers {
		return fmt.Errorf("connections %q: a number from 1 to %d", args[1], maxUsers)
	}
	lasting, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var events atomic.Uint64
	var all sync.WaitGroup
	failed := make(chan error, conns)
	for range conns {
		all.Go(func() { failed <- scanStreams(ctx, args[0], &events) })
	}
	all.Wait()
	for range conns {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, events.Load())
	return err
}

// scanStreams asks for one stream after the other on one connection, and counts events by their
// beginning. One that is cut by the end of a read may not be counted: this is a bound, not a parser.
func scanStreams(ctx context.Context, addr string, events *atomic.Uint64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 2\r\n\r\n{}")
	begin, end := []byte("data: "), []byte("\r\n0\r\n\r\n")
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		kept := 0
		for {
			n, err := conn.Read(buf[kept:])
			if err != nil {
				return err
			}
			// The end of the answer may come in two reads: the last bytes are kept in front of the next.
			all := buf[:kept+n]
			events.Add(uint64(bytes.Count(all, begin) - bytes.Count(buf[:kept], begin)))
			if bytes.HasSuffix(all, end) {
				break
			}
			kept = copy(buf, all[max(0, len(all)-len(end)):])
		}
	}
	return nil
}
