package main

import (
	"os/exec"
	"runtime"
	"strconv"
)

// place is where a process runs; the zero value is anywhere.
type place struct {
	// taskset is the program that confines a process to one core; empty: none.
	taskset string
	// alone asks for one core.
	alone bool
	// core is its number.
	core int
}

// oneCore is the first core where the system lets processes be confined. Elsewhere it is one processor
// of Go, which is less strict: the system's own work for the process may go to another core.
func oneCore() place {
	p := place{alone: true}
	if path, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		p.taskset = path
	}
	return p
}

func (p place) String() string {
	switch {
	case p.taskset != "":
		return "confined to one core"
	case p.alone:
		return "with GOMAXPROCS=1"
	}
	return "on all cores"
}

// confine changes a command that has not been started. The process stays the same one: taskset
// becomes the program.
func (p place) confine(cmd *exec.Cmd) {
	switch {
	case p.taskset != "":
		cmd.Args = append([]string{p.taskset, "-c", strconv.Itoa(p.core), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = p.taskset
	case p.alone:
		cmd.Env = append(cmd.Environ(), "GOMAXPROCS=1")
	}
}
