package report

import (
	"fmt"
	"io"
	"iter"

	"github.com/parquet-go/parquet-go"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// rowGroup is the number of rows that are compressed and written together.
const rowGroup = 1 << 16

// Row is one request in requests.parquet. Columns that end in _us are microseconds. Those from
// dispatched_us to end_us count from the request's due instant, and are null when they were not
// reached: so first_token_us is ttft, and end_us is e2e (e2e_failed of a failed request).
type Row struct {
	// Agent that made the request.
	Agent string `parquet:"agent,dict"`
	// Phase, Workload and Target by name.
	Phase    string `parquet:"phase,dict"`
	Workload string `parquet:"workload,dict"`
	Target   string `parquet:"target,dict"`
	// Arrival is the number of the arrival within its phase; closed load: the iteration of the slot.
	Arrival uint64 `parquet:"arrival"`
	// Slot and Epoch of closed load, from 1; 0 for open load.
	Slot  uint32 `parquet:"slot"`
	Epoch uint32 `parquet:"epoch"`
	// Turn is the number of the request within its session, from 0.
	Turn uint32 `parquet:"turn"`
	// DueUS is when it was due, since the run's start.
	DueUS        int64  `parquet:"due_us"`
	DispatchedUS *int64 `parquet:"dispatched_us"`
	ConnectedUS  *int64 `parquet:"connected_us"`
	SentUS       *int64 `parquet:"sent_us"`
	FirstByteUS  *int64 `parquet:"first_byte_us"`
	FirstTokenUS *int64 `parquet:"first_token_us"`
	LastTokenUS  *int64 `parquet:"last_token_us"`
	EndUS        *int64 `parquet:"end_us"`
	// ContentEvents of a streamed answer; tokens are 0 when they are not known.
	ContentEvents uint64 `parquet:"content_events"`
	InputTokens   uint64 `parquet:"input_tokens"`
	OutputTokens  uint64 `parquet:"output_tokens"`
	// Outcome is succeeded, failed or canceled; Class the class of failure, Error the failure in words.
	Outcome string `parquet:"outcome,dict"`
	Class   string `parquet:"class,dict"`
	Error   string `parquet:"error"`
	// Status is the HTTP status or gRPC code; 0: none came.
	Status uint32 `parquet:"status"`
	// NewConnection says that a connection was opened for it.
	NewConnection bool `parquet:"new_connection"`
	// Body is the answer's text, where capture.bodies asked for it.
	Body string `parquet:"body"`
}

// WriteRequests writes the records of single requests that the windows hold as Parquet, compressed with
// zstd, in the order of the windows. s is the scenario with the phases that were appended to it. The key
// left_out of the file's metadata says how many requests have no row: of them agents kept no record, or
// the journal, of a run of hours, not any more. It holds at most 65,536 rows at a time. An error of the
// sequence ends it and is returned.
func WriteRequests(w io.Writer, h *pb.RunHeader, s *pb.Scenario, windows iter.Seq2[*pb.Window, error]) error {
	out := parquet.NewGenericWriter[Row](w,
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.CreatedBy("loadline", h.GetVersion(), ""),
		parquet.KeyValueMetadata("run_id", h.GetRunId()),
		parquet.KeyValueMetadata("instants", "microseconds after due_us; due_us in microseconds since the run's start"))
	var rows []Row
	var leftOut uint64
	for window, err := range windows {
		if err != nil {
			return fmt.Errorf("write the requests: %w", err)
		}
		rows, leftOut = rows[:0], leftOut+window.GetRecordsLeftOut()
		for _, r := range window.GetRecords() {
			row, err := rowOfRecord(s, window.GetAgent(), r)
			if err != nil {
				return fmt.Errorf("write the requests: %w", err)
			}
			rows = append(rows, row)
		}
		if _, err := out.Write(rows); err != nil {
			return fmt.Errorf("write the requests: %w", err)
		}
	}
	out.SetKeyValueMetadata("left_out", fmt.Sprint(leftOut))
	if err := out.Close(); err != nil {
		return fmt.Errorf("write the requests: %w", err)
	}
	return nil
}

func rowOfRecord(s *pb.Scenario, agent string, r *pb.RequestRecord) (Row, error) {
	if int(r.GetPhase()) >= len(s.GetLoad()) || int(r.GetWorkload()) >= len(s.GetWorkloads()) {
		return Row{}, fmt.Errorf("a record speaks of phase %d and workload %d, which the scenario does not have", r.GetPhase(), r.GetWorkload())
	}
	workload := s.GetWorkloads()[r.GetWorkload()]
	target := workload.GetTarget()
	if target == "" && len(s.GetTargets()) == 1 {
		target = s.GetTargets()[0].GetName()
	}
	return Row{
		Agent: agent, Phase: s.GetLoad()[r.GetPhase()].GetName(), Workload: workload.GetName(), Target: target,
		Arrival: r.GetArrival(), Slot: r.GetSlot(), Epoch: r.GetEpoch(), Turn: r.GetTurn(), DueUS: r.GetDueUs(),
		DispatchedUS: reached(r.GetDispatchedUs()), ConnectedUS: reached(r.GetConnectedUs()), SentUS: reached(r.GetSentUs()),
		FirstByteUS: reached(r.GetFirstByteUs()), FirstTokenUS: reached(r.GetFirstTokenUs()),
		LastTokenUS: reached(r.GetLastTokenUs()), EndUS: reached(r.GetEndUs()),
		ContentEvents: r.GetContentEvents(), InputTokens: r.GetInputTokens(), OutputTokens: r.GetOutputTokens(),
		Outcome: outcomeOf(r.GetClass()), Class: r.GetClass(), Error: r.GetError(), Status: r.GetStatus(),
		NewConnection: r.GetNewConnection(), Body: r.GetBody(),
	}, nil
}

// reached is nil for an instant that was not reached.
func reached(us int64) *int64 {
	if us < 0 {
		return nil
	}
	return &us
}

func outcomeOf(class string) string {
	switch class {
	case "":
		return "succeeded"
	case measure.ClassCanceled:
		return "canceled"
	default:
		return "failed"
	}
}
