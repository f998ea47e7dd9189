package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/coordinator"
)

// runsFolder is where runs leave their folders unless --out says otherwise.
const runsFolder = "runs"

func (a *app) reportCommand() *cobra.Command {
	var asJSON, noColor bool
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Compute the report of a run again from its journal",
		Long: `Compute summary.json and the other results of a run again from its journal, and print them. RUN is the id of a run
below runs/ or the path of a run folder. A run that was cut off gives a partial report of everything that was acknowledged.
The exit status is that of the verdict, as for run.`,
		Example: `  loadline report 20261124-100501-k3f9
  loadline report runs/at-80 --json`,
		Args: oneArgument("RUN", "loadline report runs/20261124-100501-k3f9"),
		RunE: action(func(_ context.Context, args []string) error { return a.report(args[0], asJSON, noColor) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.yes(&asJSON, "json", "summary.json on standard output")
	f.yes(&noColor, "no-color", "no colours; NO_COLOR does the same")
	return cmd
}

func (a *app) report(name string, asJSON, noColor bool) error {
	folder, err := findRun(name)
	if err != nil {
		return err
	}
	summary, err := coordinator.Recompute(folder)
	if err != nil {
		return err
	}
	if err := a.writeSummary(summary, folder, asJSON, noColor); err != nil {
		return err
	}
	return exit(int(summary.GetExitStatus()))
}

// findRun is the folder of a run that was named by its path or by its id below runs/.
func findRun(name string) (string, error) {
	for _, folder := range []string{name, filepath.Join(runsFolder, name)} {
		info, err := os.Stat(folder)
		switch {
		case err == nil && info.IsDir():
			return folder, nil
		case err == nil:
			return "", badInput("%s is a file; name the folder of a run", folder)
		case !errors.Is(err, fs.ErrNotExist):
			return "", badInput("run %s: %w", name, err)
		}
	}
	return "", badInput("there is no run %s: neither a folder of that path nor one below %s/ in the working folder", name, runsFolder)
}
