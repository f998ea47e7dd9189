package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// peakEvery is how often the peak memory of a process is looked at. The last look may miss what it
	// takes in its last moments, such as a report.
	peakEvery = 250 * time.Millisecond
	// maxOutput is what is kept of a process's output.
	maxOutput = 4 << 20
)

// spent is what a process that has ended took.
type spent struct {
	cpu time.Duration
	// peak is its largest resident size in bytes; 0: it ended before the first look.
	peak uint64
	// failed is an exit status that is not 0.
	failed error
	out    []byte
}

// bounded keeps the first maxOutput bytes.
type bounded struct{ kept []byte }

func (k *bounded) Write(p []byte) (int, error) {
	k.kept = append(k.kept, p[:min(len(p), maxOutput-len(k.kept))]...)
	return len(p), nil
}

// spend runs one command to its end, at most limit. The CPU is that of wait4 (getrusage). The peak is
// VmHWM of /proc and not ru_maxrss, which a child inherits from the process that started it.
func (b *bench) spend(ctx context.Context, argv, env []string, on place, limit time.Duration) (spent, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if cmd.Err != nil {
		return spent{}, cmd.Err
	}
	cmd.Dir = b.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LOADLINE_") && !strings.HasPrefix(v, "K6_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	on.confine(cmd)
	withParent(cmd)
	var out, stderr bounded
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		return spent{}, err
	}
	peak := watchPeak(ctx, cmd.Process.Pid)
	err := cmd.Wait()
	s := spent{peak: peak(), out: out.kept}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if err = errors.Join(err, ctx.Err()); err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail(stderr.kept))
	}
	if cmd.ProcessState.Exited() && ctx.Err() == nil {
		s.failed, err = err, nil
	}
	return s, err
}

// watchPeak looks at the memory of a process until the function it returns is called, which says what the most was, in bytes.
func watchPeak(ctx context.Context, pid int) (ended func() uint64) {
	watch, stop := context.WithCancel(ctx)
	peak := make(chan uint64, 1)
	go func() {
		tick := time.NewTicker(peakEvery)
		defer tick.Stop()
		most := uint64(0)
		for {
			select {
			case <-watch.Done():
				peak <- most
				return
			case <-tick.C:
				if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
					most = max(most, highWater(string(text)))
				}
			}
		}
	}()
	return func() uint64 {
		stop()
		return <-peak
	}
}

// highWater is VmHWM of /proc/PID/status in bytes.
func highWater(status string) uint64 {
	_, rest, _ := strings.Cut(status, "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseUint(fields[0], 10, 54)
	if err != nil {
		return 0
	}
	return kib << 10
}

func tail(text []byte) string {
	const most = 2000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}
