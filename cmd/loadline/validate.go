package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/cmd/loadline/term"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxFiles bounds the files of one validate.
const maxFiles = 1000

func (a *app) validateCommand() *cobra.Command {
	var sets []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate FILE…",
		Short: "Check scenarios without sending anything",
		Long: `Check scenario files, and print every problem with its place and how to mend it. "-" reads standard input.
Exit status 0 when all are good, else 104.`,
		Example: `  loadline validate examples/*.yaml
  loadline validate launch.yaml --set load[1].open.rate=80
  loadline validate launch.yaml --json`,
		RunE: action(func(_ context.Context, args []string) error { return a.validate(args, sets, asJSON) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.list(&sets, "set", "override one field before checking, `PATH=VALUE` as load[1].open.rate=80; repeatable")
	f.yes(&asJSON, "json", "the list of problems as JSON on standard output")
	return cmd
}

// problem is one entry of validate --json.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

func (a *app) validate(names, sets []string, asJSON bool) error {
	if len(names) == 0 || len(names) > maxFiles {
		return badInput("validate takes 1 to %d scenario files, and %d were given; for example: loadline validate examples/quickstart.yaml", maxFiles, len(names))
	}
	all := []problem{}
	for _, name := range names {
		s, problems, err := a.check(name, sets)
		if err != nil {
			return err
		}
		for _, p := range problems {
			all = append(all, problem{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Hint: p.Hint})
		}
		if asJSON {
			continue
		}
		if len(problems) == 0 {
			fmt.Fprintf(a.stdout, "%s: good: %s\n", report.Clean(name), contents(s))
			continue
		}
		fmt.Fprintf(a.stdout, "%s\n%s: %s\n", term.CleanLines(problems.Error()), report.Clean(name), counted(len(problems), "problem"))
	}
	if asJSON {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(all); err != nil {
			return err
		}
	}
	if len(all) > 0 {
		return exit(statusBadInput)
	}
	return nil
}

// check reads one file; problems of the file itself are problems like those of its contents.
func (a *app) check(name string, sets []string) (*pb.Scenario, scenario.Problems, error) {
	doc, err := a.readDocument(name)
	if err == nil {
		var s *pb.Scenario
		if s, err = doc.parse(sets); err == nil {
			return s, nil, nil
		}
	}
	var problems scenario.Problems
	var bad *failure
	switch {
	case errors.As(err, &problems):
		return nil, problems, nil
	case errors.As(err, &bad) && bad.status == statusBadInput:
		return nil, scenario.Problems{{File: name, Message: err.Error()}}, nil
	default:
		return nil, nil, err
	}
}

// contents says in a few words what a scenario holds.
func contents(s *pb.Scenario) string {
	return fmt.Sprintf("%s, %s, %s, %s", counted(len(s.GetTargets()), "target"), counted(len(s.GetWorkloads()), "workload"),
		counted(len(s.GetLoad()), "phase"), counted(len(s.GetSlo()), "objective"))
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
