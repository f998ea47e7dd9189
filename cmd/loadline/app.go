package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/cmd/loadline/term"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Exit statuses that the command line gives by itself; the others stand in the summary (docs/cli.md lists all).
const (
	statusUnforeseen = 1
	statusBadInput   = 104
	statusStopped    = 105
)

// signalsWaiting bounds the signals that wait to be read; the third one ends the process.
const signalsWaiting = 4

// app is everything that the commands need of the process.
type app struct {
	env            func(string) (string, bool)
	stdin          io.Reader
	stdout, stderr io.Writer
	// listen begins to yield a value for each ctrl-c and SIGTERM. Only commands that end by themselves then call it;
	// the others leave signals to the system.
	listen func() <-chan os.Signal
	// cores is how many the process may use; 0: as many as Go has processors.
	cores int
	// embedded starts coordinator and agents in this process.
	embedded func(context.Context, embeddedOptions) (pb.ControlServiceClient, func() error, error)
	// null starts a server that does nothing, for calibrate, and returns its address.
	null func(context.Context) (string, func() error, error)
	// cache is the user's folder for what can be made again.
	cache func() (string, error)
	// flags are those of each command, by the command's path.
	flags map[string]*flags
}

// failure is an error with the exit status that belongs to it.
type failure struct {
	status int
	err    error // nil: everything has been said
}

// Error implements error.
func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit status %d", f.status)
	}
	return f.err.Error()
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// badInput says that what the user gave cannot be used.
func badInput(format string, args ...any) error {
	return &failure{status: statusBadInput, err: fmt.Errorf(format, args...)}
}

// exit ends a command with a status and without another word; nil for 0.
func exit(status int) error {
	if status == 0 {
		return nil
	}
	return &failure{status: status}
}

// run carries one command line out and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var f *failure
	if !errors.As(err, &f) {
		// Whatever does not come out of a command's action is cobra's finding on the command line.
		err = fmt.Errorf("%w\nSee %q", err, "loadline help")
		f = &failure{status: statusBadInput, err: err}
	}
	if f.err != nil {
		fmt.Fprintf(a.stderr, "loadline: %s\n", term.CleanLines(err.Error()))
	}
	return f.status
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	a.flags = map[string]*flags{}
	root := &cobra.Command{
		Use:   "loadline",
		Short: "How much traffic a model endpoint can safely carry",
		Long: `loadline loads a model endpoint on an exact schedule, measures every answer and ends in a verdict.

Each flag may also be set by an environment variable: LOADLINE_ and the flag's name in capitals with underscores,
as LOADLINE_OUT for --out. What is given more than once is separated by line ends there. Flags go before the
environment, the environment before the scenario, the scenario before the defaults.`,
		Example: `  loadline run examples/quickstart.yaml
  loadline run --url http://127.0.0.1:8000/v1 --model m --rate 30 --duration 30s
  loadline report runs/20261124-100501-k3f9`,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.fromEnvironment(cmd) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(a.flagError)
	root.AddCommand(a.runCommand(), a.simCommand(), a.validateCommand(), a.planCommand(), a.reportCommand(),
		a.coordinatorCommand(), a.agentCommand(), a.certsCommand(), a.watchCommand(), a.runsCommand(), a.agentsCommand(),
		a.stopCommand(), a.drainCommand(), a.rateCommand(), a.pauseCommand(), a.resumeCommand(),
		a.calibrateCommand(), a.nullCommand(),
		a.metricsCommand(), a.schemaCommand(), a.versionCommand())
	return root
}

// action makes a command's function one for cobra: an error without a status of its own is unforeseen.
func action(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd.Context(), args)
		var f *failure
		if err == nil || errors.As(err, &f) {
			return err
		}
		return &failure{status: statusUnforeseen, err: err}
	}
}

// noArguments refuses arguments and says where they may belong.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument, and %q was given", cmd.CommandPath(), args[0])
	}
	return nil
}

// oneArgument wants exactly one argument of the given name.
func oneArgument(name, example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes one %s, and %d were given; for example: %s", cmd.CommandPath(), name, len(args), example)
		}
		return nil
	}
}
