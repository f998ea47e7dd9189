package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/internal/null"
)

// nullCommandName is the command of the process that calibrate loads. It is not for people.
const nullCommandName = "null-server"

// nullPatience is how long that process may take to end before it is killed.
const nullPatience = 5 * time.Second

func (a *app) nullCommand() *cobra.Command {
	return &cobra.Command{
		Use: nullCommandName, Hidden: true, Args: noArguments,
		Short: "Serve nothing, for loadline calibrate, until standard input ends",
		RunE:  action(func(ctx context.Context, _ []string) error { return a.serveNull(ctx) }),
	}
}

// serveNull serves until standard input ends, which happens too when the process that started it dies. A signal meant
// for both is left to that one.
func (a *app) serveNull(ctx context.Context) error {
	a.listen()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("no loopback port: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- null.Serve(ctx, listener) }()
	_, failed := fmt.Fprintln(a.stdout, listener.Addr())
	if failed == nil {
		_, failed = io.Copy(io.Discard, a.stdin)
	}
	cancel()
	return errors.Join(failed, <-served)
}

// startNull starts this program again as the null server and returns its address. stop ends it and waits.
func startNull(context.Context) (address string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, nullCommandName)
	cmd.Args[0] = os.Args[0] // what Executable returns may be where a link leads, under another name
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error {
		late := time.AfterFunc(nullPatience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		return errors.Join(stdin.Close(), cmd.Wait())
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("it did not say its address: %w", err), stop())
	}
	return strings.TrimSpace(line), stop, nil
}
