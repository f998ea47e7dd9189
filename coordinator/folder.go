package coordinator

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Names within a run folder (design §7).
const (
	sourceFile   = "scenario.yaml"
	resolvedFile = "scenario.resolved.yaml"
	planFile     = "plan.json"
	summaryFile  = "summary.json"
	windowsFile  = "windows.csv"
	hlogFile     = "histograms.hlog"
	requestsFile = "requests.parquet"
)

func journalFolder(folder string) string { return filepath.Join(folder, "journal") }

// writeIntent begins a run folder with what is known before the run: the scenario and the plan.
func writeIntent(folder string, h *pb.RunHeader, source []byte) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("create the run folder: %w", err)
	}
	if _, err := os.Stat(journalFolder(folder)); err == nil {
		return fmt.Errorf("%s holds a run already, name another folder: %w", folder, os.ErrExist)
	}
	resolved := scenario.Marshal(h.GetScenario())
	if len(source) == 0 {
		source = resolved
	}
	return errors.Join(
		writeFile(folder, sourceFile, bytesTo(source)),
		writeFile(folder, resolvedFile, bytesTo(resolved)),
		writeFile(folder, planFile, func(w io.Writer) error { return report.WritePlan(w, h.GetPlan()) }),
	)
}

func bytesTo(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// writeResults writes what a run found out. Every file is tried, whatever becomes of the others.
func writeResults(folder string, r *merge.Run, s *pb.Summary) error {
	return errors.Join(
		writeFile(folder, windowsFile, func(w io.Writer) error { return report.WriteWindows(w, r) }),
		writeFile(folder, hlogFile, func(w io.Writer) error { return report.WriteHlog(w, r) }),
		writeFile(folder, requestsFile, func(w io.Writer) error {
			return report.WriteRequests(w, r.Header(), r.Scenario(), windows(folder))
		}),
		writeFile(folder, summaryFile, func(w io.Writer) error { return report.WriteJSON(w, s) }),
	)
}

// writeFile writes a file so that its name stands for the old content or the new, never for a
// mixture (R16): under a temporary name, synced, renamed, the folder synced.
func writeFile(folder, name string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(folder, "."+name+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", name, errors.Join(err, os.Remove(file.Name())))
		}
	}()
	err = errors.Join(write(file), file.Chmod(0o644), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(folder, name)); err != nil {
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("sync the run folder: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// errEnough ends a replay early.
var errEnough = errors.New("enough")

// windows yields the windows of a run folder's journal whose request records are kept.
func windows(folder string) iter.Seq2[*pb.Window, error] {
	return func(yield func(*pb.Window, error) bool) {
		err := journal.Windows(journalFolder(folder), func(w *pb.Window) error {
			if !yield(w, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// Recompute computes a run's report again from its journal alone, writes the files of the run
// folder anew, and returns the summary. After a run that ended in good order the bytes of
// summary.json are the same; a run that was killed becomes partial, with everything that had been
// acknowledged. A journal that is damaged before its end is an error that wraps journal.ErrDamaged.
func Recompute(folder string) (*pb.Summary, error) {
	replayed := &replayed{}
	if _, err := journal.Replay(journalFolder(folder), replayed.add); err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	merged := replayed.merged
	if merged == nil {
		return nil, fmt.Errorf("%s: the journal is empty: the run never began", folder)
	}
	summary := judge.Summarize(merged)
	return summary, writeResults(folder, merged, summary)
}

// replayed is what a journal's records add up to.
type replayed struct {
	merged *merge.Run
	events []*pb.RunEvent // every one, in the order of the journal
}

// add takes the next record.
func (r *replayed) add(record *pb.JournalRecord) (err error) {
	switch {
	case record.HasHeader() && r.merged == nil:
		r.merged, err = merge.New(record.GetHeader())
		return err
	case r.merged == nil:
		return fmt.Errorf("%w: it does not begin with a header", journal.ErrDamaged)
	case record.HasEvent():
		r.events = append(r.events, record.GetEvent())
	}
	return r.merged.AddRecord(record)
}
