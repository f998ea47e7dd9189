package agent

import (
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/process"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The runtime's own measurements that tell how well the generator keeps up.
const (
	schedLatencies = "/sched/latencies:seconds"
	gcPauses       = "/sched/pauses/total/gc:seconds"
)

// health measures the generator itself, once a window. What the system does not tell is negative.
type health struct {
	process *process.Process // nil: unknown
	machine func() (busy, all float64)
	at      time.Time
	own     float64 // seconds of processor time of this process
	busy    float64 // seconds of the machine's processors, busy and in all
	all     float64
	samples []metrics.Sample
	before  [2][]uint64
}

// newHealth begins to measure. machine is that of Config; nil: the system is asked.
func newHealth(machine func() (busy, all float64)) *health {
	if machine == nil {
		machine = MachineSeconds
	}
	h := &health{machine: machine, samples: []metrics.Sample{{Name: schedLatencies}, {Name: gcPauses}}}
	if p, err := process.NewProcess(int32(os.Getpid())); err == nil {
		h.process = p
	}
	h.sample()
	return h
}

// sample tells of the time since the last sample.
func (h *health) sample() *pb.Health {
	now := time.Now()
	wall := now.Sub(h.at).Seconds()
	own := h.ownSeconds()
	busy, all := h.machine()
	b := pb.Health_builder{
		CpuProcess: share(own-h.own, wall*float64(runtime.NumCPU())),
		CpuMachine: share(busy-h.busy, all-h.all),
		Goroutines: uint64(runtime.NumGoroutine()),
	}
	h.at, h.own, h.busy, h.all = now, own, busy, all
	metrics.Read(h.samples)
	b.SchedLatencyP99Us = micros(h.since(0, 0.99))
	b.GcPauseMaxUs = micros(h.since(1, 1))
	b.OpenSockets = h.openFiles()
	return b.Build()
}

// MachineSeconds is the time of the machine's processors since it was started, busy and in all, in seconds; 0: the system does not tell.
func MachineSeconds() (busy, all float64) {
	times, err := cpu.Times(false)
	if err != nil || len(times) != 1 {
		return 0, 0
	}
	t := times[0]
	idle := t.Idle + t.Iowait
	all = t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal + idle
	return all - idle, all
}

// openFiles is how many files the process holds open; 0: unknown. Linux since 6.2 has the number as the size of the folder; to
// list the folder takes milliseconds where there are ten thousands.
func (h *health) openFiles() uint64 {
	if info, err := os.Stat("/proc/self/fd"); err == nil && info.Size() > 0 {
		return uint64(info.Size())
	}
	if h.process == nil {
		return 0
	}
	n, err := h.process.NumFDs()
	if err != nil {
		return 0
	}
	return uint64(n)
}

// ownSeconds is the processor time of this process. The system's own call tells it at once; to read it from a file of text takes
// as long as all the rest of a sample.
func (h *health) ownSeconds() float64 {
	if seconds, ok := processSeconds(); ok {
		return seconds
	}
	if h.process == nil {
		return 0
	}
	times, err := h.process.Times()
	if err != nil {
		return 0
	}
	return times.User + times.System
}

// share is part/whole within 0…1, or negative when it cannot be known.
func share(part, whole float64) float64 {
	if whole <= 0 || part < 0 {
		return -1
	}
	return min(1, part/whole)
}

func micros(seconds float64) uint64 { return uint64(seconds * 1e6) }

// since is a quantile, in seconds, of what one of the runtime's histograms gained since the last
// call: the upper edge of the bucket, or its lower one where that is infinite.
func (h *health) since(which int, p float64) float64 {
	if h.samples[which].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	histogram := h.samples[which].Value.Float64Histogram()
	counts := append([]uint64(nil), histogram.Counts...)
	var total uint64
	gained := make([]uint64, len(counts))
	for i, n := range counts {
		gained[i] = n
		if i < len(h.before[which]) {
			gained[i] -= h.before[which][i]
		}
		total += gained[i]
	}
	h.before[which] = counts
	rank, seen := uint64(math.Ceil(p*float64(total))), uint64(0)
	for i, n := range gained {
		if seen += n; n > 0 && seen >= rank {
			if edge := histogram.Buckets[i+1]; !math.IsInf(edge, 1) {
				return edge
			}
			return histogram.Buckets[i]
		}
	}
	return 0
}
