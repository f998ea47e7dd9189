package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// askOptions are the flags of a command that asks one thing of a coordinator.
type askOptions struct {
	remote remoteOptions
	json   bool
}

func (o *askOptions) add(f *flags) {
	o.remote.add(f)
	f.yes(&o.json, "json", "the answer as JSON, one object, with the names of the schema")
}

// answer writes a message as JSON, or as text for people.
func (a *app) answer(o *askOptions, m proto.Message, text func(io.Writer)) error {
	if !o.json {
		out := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		text(out)
		return out.Flush()
	}
	data, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true, Indent: "  "}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(append(data, '\n'))
	return err
}

func (a *app) runsCommand() *cobra.Command {
	o := &askOptions{}
	cmd := &cobra.Command{
		Use:     "runs",
		Short:   "List a coordinator's runs",
		Long:    "List the runs that a coordinator knows, oldest first: id, state, start, scenario, agents, and what it waits for or why it ended.",
		Example: "  loadline runs --coordinator 127.0.0.1:7400\n  loadline runs --json",
		Args:    noArguments,
		RunE:    action(func(ctx context.Context, _ []string) error { return a.listRuns(ctx, o) }),
	}
	o.add(a.newFlags(cmd, variablePrefix))
	return cmd
}

func (a *app) listRuns(ctx context.Context, o *askOptions) error {
	return o.remote.ask(ctx, func(ctx context.Context, client pb.ControlServiceClient) error {
		answer, err := client.ListRuns(ctx, &pb.ListRunsRequest{})
		if err != nil {
			return err
		}
		return a.answer(o, answer, func(out io.Writer) { writeRuns(out, answer.GetRuns()) })
	})
}

func writeRuns(out io.Writer, runs []*pb.RunStatus) {
	fmt.Fprintln(out, "RUN\tSTATE\tSTARTED\tSCENARIO\tAGENTS\tDETAIL")
	for _, r := range runs {
		started := "-"
		if r.HasStartedTime() {
			started = r.GetStartedTime().AsTime().Local().Format(time.DateTime)
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%s\n", report.Clean(r.GetRunId()), lower(r.GetState(), "RUN_STATE_"), started,
			report.Clean(r.GetScenarioName()), len(r.GetAgents()), report.Clean(r.GetDetail()))
	}
}

// lower is the name of a choice without the beginning that all of its kind share.
func lower(choice fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(choice.String(), prefix))
}

func (a *app) agentsCommand() *cobra.Command {
	o := &askOptions{}
	cmd := &cobra.Command{
		Use:     "agents",
		Short:   "List a coordinator's agents",
		Long:    "List the agents of a coordinator, by name: what each does, how long it still holds its lease, version, cores, weight, the bound of the error of its clock, labels, and the runs in which it has a part.",
		Example: "  loadline agents --coordinator 127.0.0.1:7400\n  loadline agents --json",
		Args:    noArguments,
		RunE:    action(func(ctx context.Context, _ []string) error { return a.listAgents(ctx, o) }),
	}
	o.add(a.newFlags(cmd, variablePrefix))
	return cmd
}

func (a *app) listAgents(ctx context.Context, o *askOptions) error {
	return o.remote.ask(ctx, func(ctx context.Context, client pb.ControlServiceClient) error {
		answer, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
		if err != nil {
			return err
		}
		return a.answer(o, answer, func(out io.Writer) { writeAgents(out, answer.GetAgents()) })
	})
}

func writeAgents(out io.Writer, agents []*pb.AgentStatus) {
	fmt.Fprintln(out, "AGENT\tSTATE\tLEASE\tVERSION\tCORES\tWEIGHT\tCLOCK\tLABELS\tRUNS")
	for _, s := range agents {
		clock, runs := "-", strings.Join(s.GetRunIds(), " ")
		if bound := s.GetClockErrorBoundNs(); bound > 0 {
			clock = "±" + time.Duration(bound).Round(time.Microsecond).String()
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", report.Clean(s.GetInfo().GetName()), lower(s.GetActivity(), "AGENT_ACTIVITY_"), leaseText(s), report.Clean(s.GetInfo().GetVersion()),
			s.GetInfo().GetCores(), s.GetWeight(), clock, report.Clean(labelText(s.GetInfo().GetLabels())), report.Clean(runs))
	}
}

// leaseText is how long an agent still holds its lease.
func leaseText(s *pb.AgentStatus) string {
	if left := time.Duration(s.GetLeaseNs()); left >= 0 {
		return left.Round(100 * time.Millisecond).String()
	}
	return "lapsed"
}

func labelText(labels map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, key+"="+labels[key])
	}
	return strings.Join(all, ",")
}
