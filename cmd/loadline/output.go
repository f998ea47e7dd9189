package main

import (
	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// writeSummary writes what a run found out to standard output: the final block for people, or summary.json.
func (a *app) writeSummary(s *pb.Summary, folder string, asJSON, noColor bool) error {
	if asJSON {
		return report.WriteJSON(a.stdout, s)
	}
	return report.WriteText(a.stdout, s, a.textOptions(folder, noColor))
}

// textOptions say how text looks on standard output.
func (a *app) textOptions(folder string, noColor bool) report.TextOptions {
	return report.TextOptions{Width: width(a.stdout), Color: isTerminal(a.stdout) && a.colors(noColor), Folder: folder}
}
