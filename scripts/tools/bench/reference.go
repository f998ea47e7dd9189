package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// referenceCommand starts this program again as the reference client.
const referenceCommand = "reference-client"

// referenceConns is enough that one of them always has an answer waiting.
const referenceConns = 16

// reference is what bare round trips cost.
type reference struct {
	// perSecond is the rate of round trips of one core.
	perSecond float64
	// cpu is what one round trip costs the client.
	cpu time.Duration
}

// measureReference counts round trips over loopback connections of a client that does nothing else:
// it writes a request, reads the answer and begins again.
func measureReference(ctx context.Context, addr string, lasting time.Duration, core place) (reference, error) {
	self, err := os.Executable()
	if err != nil {
		return reference{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lasting+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, referenceCommand, addr, lasting.String())
	core.confine(cmd)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return reference{}, fmt.Errorf("reference client: %w %s", err, stderr.String())
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
	if err != nil || n == 0 {
		return reference{}, fmt.Errorf("reference client said %q", out)
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return reference{perSecond: float64(n) / lasting.Seconds(), cpu: cpu / time.Duration(n)}, nil
}

// runReference is that client; it prints the number of round trips.
func runReference(ctx context.Context, w io.Writer, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: " + referenceCommand + " ADDRESS DURATION")
	}
	lasting, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var trips atomic.Uint64
	var all sync.WaitGroup
	failed := make(chan error, referenceConns)
	for range referenceConns {
		all.Go(func() {
			if err := roundTrips(ctx, args[0], &trips); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	_, err = fmt.Fprintln(w, trips.Load())
	return err
}

func roundTrips(ctx context.Context, addr string, trips *atomic.Uint64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte("GET / HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: reference\r\nAccept: */*\r\nX-Loadline-Arrival: 0.0.0.0\r\n\r\n")
	answer := make([]byte, len(nullAnswer()))
	for ctx.Err() == nil {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			return err
		}
		trips.Add(1)
	}
	return nil
}
