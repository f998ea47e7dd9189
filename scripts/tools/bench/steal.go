package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const (
	// tolerated is how many ticks of 10 ms the host may take during a measurement of instants: one
	// more, and hundreds of arrivals have waited for the host and not for us.
	tolerated = 1
	// stealTries bounds how often a measurement is made until the host leaves it alone.
	stealTries = 6
)

// stolen is the processor time that the host of this virtual machine has given to others while
// something here wanted it, in ticks of 10 ms since the start; 0 where that is not known.
func stolen() int {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	return stolenIn(line)
}

// stolenIn reads the first line of /proc/stat: cpu user nice system idle iowait irq softirq steal …
func stolenIn(line string) int {
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0
	}
	n, err := strconv.Atoi(fields[8])
	if err != nil {
		return 0
	}
	return n
}

// undisturbed makes a measurement until the host of the virtual machine took no processor time
// meanwhile, and says each time that it did. The last try counts whatever the host did.
func undisturbed(out io.Writer, what string, measure func() error) error {
	for try := 1; ; try++ {
		before := stolen()
		if err := measure(); err != nil {
			return err
		}
		taken := stolen() - before
		if taken <= tolerated {
			return nil
		}
		fmt.Fprintf(out, "%s: the host took %d ms of processor time meanwhile", what, 10*taken)
		if try == stealTries {
			fmt.Fprintln(out, "; it counts all the same, after so many tries")
			return nil
		}
		fmt.Fprintln(out, "; made again")
	}
}
