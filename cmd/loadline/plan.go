package main

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
)

// planOptions are the flags of plan.
type planOptions struct {
	agents        int
	sets          []string
	json, noColor bool
}

func (a *app) planCommand() *cobra.Command {
	o := &planOptions{}
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show what a run would do, without sending anything",
		Long: `Print the phases, the number of arrivals, the tokens that are to be expected, the rate over time, and each agent's share.
Files that the scenario names are read, since they belong to the digest; "-" reads the scenario from standard input.`,
		Example: `  loadline plan launch.yaml
  loadline plan launch.yaml --agents 7
  loadline plan launch.yaml --set load[1].open.rate=80 --json`,
		Args: oneArgument("FILE", "loadline plan examples/quickstart.yaml"),
		RunE: action(func(ctx context.Context, args []string) error { return a.plan(ctx, o, args[0]) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.number(&o.agents, "agents", 1, "number `N` of agents to divide the load among")
	f.list(&o.sets, "set", "override one field, `PATH=VALUE` as load[1].open.rate=80; repeatable")
	f.yes(&o.json, "json", "the plan as JSON on standard output")
	f.yes(&o.noColor, "no-color", "no colours; NO_COLOR does the same")
	return cmd
}

func (a *app) plan(ctx context.Context, o *planOptions, name string) error {
	if o.agents < 1 || o.agents > plan.MaxAgents {
		return badInput("--agents %d: between 1 and %d", o.agents, plan.MaxAgents)
	}
	doc, s, err := a.load(name, o.sets)
	if err != nil {
		return err
	}
	files, err := digestFiles(ctx, s, doc.baseDir)
	if err != nil {
		return err
	}
	digest := scenario.Digest(s, files)
	load, err := schedule.Compile(s)
	if err != nil {
		return badInput("the load cannot be scheduled: %w", err)
	}
	p, err := plan.Make(s, load, hex.EncodeToString(digest[:]), roster(o.agents))
	if err != nil {
		return badInput("%w", err)
	}
	plan.ExpectTokens(p, s, workload.Expected)
	if o.json {
		return report.WritePlan(a.stdout, p)
	}
	return report.WritePlanText(a.stdout, p, s, a.textOptions("", o.noColor))
}

// roster is that of agents of equal weight, named as run names them.
func roster(n int) []plan.Agent {
	agents := make([]plan.Agent, n)
	for i := range agents {
		agents[i] = plan.Agent{Name: fmt.Sprintf("a%d", i+1), Weight: 1}
	}
	return agents
}
