package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
)

func (a *app) metricsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "metrics",
		Short:   "Say what every metric means",
		Long:    "Print every series, rate, counter and class of failure with unit and formula. The names never change their meaning.",
		Example: "  loadline metrics\n  loadline metrics --json",
		Args:    noArguments,
		RunE: action(func(context.Context, []string) error {
			if asJSON {
				return measure.WriteMetricsJSON(a.stdout)
			}
			return measure.WriteMetrics(a.stdout)
		}),
	}
	a.newFlags(cmd, variablePrefix).yes(&asJSON, "json", "as JSON")
	return cmd
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of scenarios, for editors",
		Long:  "Print the JSON schema (2020-12) of scenarios. Editors complete and check YAML with it.",
		Example: `  loadline schema > scenario.schema.json
  # first line of a scenario, for editors with the YAML language server:
  # yaml-language-server: $schema=scenario.schema.json`,
		Args: noArguments,
		RunE: action(func(context.Context, []string) error {
			_, err := fmt.Fprintf(a.stdout, "%s\n", scenario.Schema())
			return err
		}),
	}
}

// build says what this binary is.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// buildVersion reads what the Go tool recorded in the binary; "unknown" where it recorded nothing.
func buildVersion() build {
	b := build{Version: "unknown", Commit: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which build this is",
		Long:    "Print version, commit, Go version and platform of this binary.",
		Example: "  loadline version\n  loadline version --json",
		Args:    noArguments,
		RunE: action(func(context.Context, []string) error {
			b := buildVersion()
			if asJSON {
				return json.NewEncoder(a.stdout).Encode(b)
			}
			changed := ""
			if b.Modified {
				changed = " with changes"
			}
			_, err := fmt.Fprintf(a.stdout, "loadline %s\ncommit %s%s\n%s %s/%s\n", b.Version, b.Commit, changed, b.Go, b.OS, b.Arch)
			return err
		}),
	}
	a.newFlags(cmd, variablePrefix).yes(&asJSON, "json", "as JSON")
	return cmd
}
