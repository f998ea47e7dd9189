package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// stopOptions are the flags of stop.
type stopOptions struct {
	askOptions
	all    bool
	now    bool
	reason string
}

func (a *app) stopCommand() *cobra.Command {
	o := &stopOptions{}
	cmd := &cobra.Command{
		Use:   "stop RUN | --all",
		Short: "Stop a coordinator's run, or all of them",
		Long: `Stop a run: no new arrivals, what is in flight may end within its drain time, full report. With --now what is in flight is
canceled. Repeating it changes nothing; --now after a stop without it hardens it.`,
		Example: `  loadline stop 20261124-100501-k3f9 --coordinator 127.0.0.1:7400
  loadline stop --all --now --reason "the target is on fire"`,
		RunE: action(func(ctx context.Context, args []string) error { return a.stopRuns(ctx, o, args) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.yes(&o.all, "all", "every run that goes on")
	f.yes(&o.now, "now", "cancel what is in flight")
	f.text(&o.reason, "reason", "", "`TEXT` for the report, in plain words")
	o.add(f)
	return cmd
}

func (a *app) stopRuns(ctx context.Context, o *stopOptions, args []string) error {
	if o.all == (len(args) == 1) || len(args) > 1 {
		return badInput("say what to stop: loadline stop RUN, or loadline stop --all")
	}
	mode := pb.StopMode_STOP_MODE_DRAIN
	if o.now {
		mode = pb.StopMode_STOP_MODE_NOW
	}
	return o.remote.ask(ctx, func(ctx context.Context, client pb.ControlServiceClient) error {
		if o.all {
			answer, err := client.StopAll(ctx, pb.StopAllRequest_builder{Mode: mode, Reason: o.reason}.Build())
			if err != nil {
				return err
			}
			return a.answer(&o.askOptions, answer, func(out io.Writer) { writeStopped(out, answer.GetRuns()) })
		}
		answer, err := client.StopRun(ctx, pb.StopRunRequest_builder{RunId: args[0], Mode: mode, Reason: o.reason}.Build())
		if err != nil {
			return err
		}
		return a.answer(&o.askOptions, answer, func(out io.Writer) { writeStopped(out, []*pb.RunStatus{answer.GetStatus()}) })
	})
}

func writeStopped(out io.Writer, runs []*pb.RunStatus) {
	if len(runs) == 0 {
		fmt.Fprintln(out, "no run goes on")
	}
	for _, r := range runs {
		fmt.Fprintf(out, "run %s of %s is asked to stop; it is %s\n", report.Clean(r.GetRunId()), report.Clean(r.GetScenarioName()), lower(r.GetState(), "RUN_STATE_"))
	}
}

func (a *app) drainCommand() *cobra.Command {
	o := &askOptions{}
	cmd := &cobra.Command{
		Use:   "drain AGENT",
		Short: "Make an agent hand over its share and take no new run",
		Long: `Make an agent hand its share of every run over to the others. It finishes what it has in flight, hands its results over and takes
no new run. No arrival is lost.`,
		Example: "  loadline drain a1 --coordinator 127.0.0.1:7400",
		Args:    oneArgument("agent", "loadline drain a1"),
		RunE: action(func(ctx context.Context, args []string) error {
			return o.remote.ask(ctx, func(ctx context.Context, client pb.ControlServiceClient) error {
				answer, err := client.DrainAgent(ctx, pb.DrainAgentRequest_builder{Agent: args[0]}.Build())
				if err != nil {
					return err
				}
				return a.answer(o, answer, func(out io.Writer) {
					fmt.Fprintf(out, "agent %s hands over\n", report.Clean(answer.GetAgent().GetInfo().GetName()))
				})
			})
		}),
	}
	o.add(a.newFlags(cmd, variablePrefix))
	return cmd
}

// adjustOptions are the flags of the commands that change a run's load.
type adjustOptions struct {
	askOptions
	phase string
}

func (o *adjustOptions) add(f *flags) {
	f.text(&o.phase, "phase", "", "`NAME` of the phase (default: every phase that is running)")
	o.askOptions.add(f)
}

// adjust asks for one change of a run.
func (a *app) adjust(ctx context.Context, o *adjustOptions, q *pb.AdjustRunRequest) error {
	q.SetRequestId(rand.Text())
	q.SetPhase(o.phase)
	return o.remote.ask(ctx, func(ctx context.Context, client pb.ControlServiceClient) error {
		answer, err := client.AdjustRun(ctx, q)
		if err != nil {
			return err
		}
		return a.answer(&o.askOptions, answer, func(out io.Writer) {
			fmt.Fprintf(out, "run %s changes at %v of its clock (epoch %d)\n", report.Clean(q.GetRunId()),
				time.Duration(answer.GetAtNs()).Round(time.Millisecond), answer.GetEpoch())
		})
	})
}

// rateOptions are the flags of rate.
type rateOptions struct {
	adjustOptions
	users bool
}

func (a *app) rateCommand() *cobra.Command {
	o := &rateOptions{}
	cmd := &cobra.Command{
		Use:   "rate RUN NUMBER",
		Short: "Set the rate, or the number of users, of a run that goes on",
		Long: `Set the rate of a run in sessions a second, from a moment ahead until the end of its phase; a ramp is replaced too. With --users the
number is that of the users of closed load. The change is in the journal and in the report.`,
		Example: `  loadline rate 20261124-100501-k3f9 80 --coordinator 127.0.0.1:7400
  loadline rate 20261124-100501-k3f9 64 --users --phase hold`,
		RunE: action(func(ctx context.Context, args []string) error {
			if len(args) != 2 {
				return badInput("rate takes a run id and a number; for example: loadline rate 20261124-100501-k3f9 80")
			}
			q, err := rateRequest(args[0], args[1], o.users)
			if err != nil {
				return err
			}
			return a.adjust(ctx, &o.adjustOptions, q)
		}),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.yes(&o.users, "users", "NUMBER is that of users, for closed load")
	o.add(f)
	cmd.SetFlagErrorFunc(a.negativeRate)
	return cmd
}

// negativeRate says of a number below 0, which looks like a flag, what is wrong with it.
func (a *app) negativeRate(cmd *cobra.Command, err error) error {
	// Declared where it is used: pflag's error for a flag that does not exist.
	var unknown interface{ GetSpecifiedShortnames() string }
	if errors.As(err, &unknown) {
		number := "-" + strings.TrimLeft(unknown.GetSpecifiedShortnames(), "-")
		if _, bad := strconv.ParseFloat(number, 64); bad == nil {
			return badInput("%q is not a rate or a number of users: write one greater than 0; loadline pause stops new sessions", number)
		}
	}
	return a.flagError(cmd, err)
}

func rateRequest(id, number string, users bool) (*pb.AdjustRunRequest, error) {
	q := pb.AdjustRunRequest_builder{RunId: id}.Build()
	if users {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n == 0 {
			return nil, badInput("%q is not a number of users: write a whole number of at least 1", number)
		}
		q.SetUsers(uint32(n))
		return q, nil
	}
	rate, err := strconv.ParseFloat(number, 64)
	if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
		return nil, badInput("%q is not a rate: write sessions a second, greater than 0; loadline pause stops new ones", number)
	}
	q.SetRate(rate)
	return q, nil
}

func (a *app) pauseCommand() *cobra.Command {
	return a.switchCommand("pause", "Let no session start in a run until it is resumed",
		"Let no session start, from a moment ahead until the run is resumed. The phase's clock goes on; what is in flight may end.",
		func(q *pb.AdjustRunRequest) { q.SetPaused(true) })
}

func (a *app) resumeCommand() *cobra.Command {
	return a.switchCommand("resume", "Let a paused run go on",
		"Let a paused run go on as its scenario has it by now. Arrivals that would have been due meanwhile are left out.",
		func(q *pb.AdjustRunRequest) { q.SetResumed(true) })
}

func (a *app) switchCommand(name, short, long string, set func(*pb.AdjustRunRequest)) *cobra.Command {
	o := &adjustOptions{}
	example := "loadline " + name + " 20261124-100501-k3f9"
	cmd := &cobra.Command{
		Use: name + " RUN", Short: short, Long: long, Example: "  " + example + " --coordinator 127.0.0.1:7400",
		Args: oneArgument("run id", example),
		RunE: action(func(ctx context.Context, args []string) error {
			q := pb.AdjustRunRequest_builder{RunId: args[0]}.Build()
			set(q)
			return a.adjust(ctx, o, q)
		}),
	}
	o.add(a.newFlags(cmd, variablePrefix))
	return cmd
}
