// Command loadline tells how much traffic a model endpoint can safely carry, and proves it.
//
// Everything that belongs to the process is touched here and nowhere else: flags, environment, signals, standard
// streams and the exit status. The commands themselves speak to the ControlService, which the embedded cluster offers
// in memory.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	stop := leaveGarbage(os.LookupEnv)
	a := &app{
		env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		listen: listen, embedded: startEmbedded, null: startNull, cache: os.UserCacheDir, cores: spareProcessors(os.LookupEnv),
	}
	status := a.run(context.Background(), os.Args[1:])
	stop()
	os.Exit(status)
}

// extraProcessors is how many more of Go's processors there are than cores. The pacer wakes up on a thread of its own and
// then needs a free processor; where every one runs a busy goroutine it would wait for up to 10 ms, while the system would
// have let its thread run at once. On two cores at 50 streams a second this halves the 99th percentile of lateness.
const extraProcessors = 2

// spareProcessors sees to it that the pacer finds a free processor, unless GOMAXPROCS says otherwise, and returns the
// number of cores.
func spareProcessors(env func(string) (string, bool)) int {
	cores := runtime.GOMAXPROCS(0)
	if _, given := env("GOMAXPROCS"); !given {
		runtime.GOMAXPROCS(cores + extraProcessors)
	}
	return cores
}

// listen takes ctrl-c and SIGTERM over from the system, which would end the process.
func listen() <-chan os.Signal {
	signals := make(chan os.Signal, signalsWaiting)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return signals
}
