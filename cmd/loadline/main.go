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
	"syscall"
)

func main() {
	a := &app{
		env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		listen: listen, embedded: startEmbedded,
	}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// listen takes ctrl-c and SIGTERM over from the system, which would end the process.
func listen() <-chan os.Signal {
	signals := make(chan os.Signal, signalsWaiting)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return signals
}
