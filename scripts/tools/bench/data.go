package main

import (
	"fmt"
	"math"
	"strings"
)

// summary is the part of summary.json that is measured against.
type summary struct {
	RunID       string   `json:"run_id"`
	StartedTime string   `json:"started_time"`
	State       string   `json:"state"`
	Reasons     []string `json:"reasons"`
	ExitStatus  int      `json:"exit_status"`
	Validity    struct {
		Valid   bool     `json:"valid"`
		Reasons []string `json:"reasons"`
	} `json:"validity"`
	Arrivals struct{ Due, Started, Missed, Shed, Lost uint64 }              `json:"arrivals"`
	Requests struct{ Sent, Succeeded, Failed, Canceled, Unfinished uint64 } `json:"requests"`
	Errors   []struct {
		Class   string `json:"class"`
		Count   uint64 `json:"count"`
		Example string `json:"example"`
	} `json:"errors"`
	Series []series `json:"series"`
	Agents []struct {
		CPUMax float64 `json:"cpu_max"`
	} `json:"agents"`
}

// series is one distribution of a summary; quantiles are absent where values are too few.
type series struct {
	Name     string   `json:"name"`
	Phase    string   `json:"phase"`
	Workload string   `json:"workload"`
	Count    uint64   `json:"count"`
	Max      float64  `json:"max"`
	Mean     float64  `json:"mean"`
	P50      *float64 `json:"p50"`
	P95      *float64 `json:"p95"`
	P99      *float64 `json:"p99"`
}

// of is the series of the whole run; an absent one is empty.
func (s *summary) of(name string) series {
	for _, x := range s.Series {
		if x.Name == name && x.Phase == "" && x.Workload == "" {
			return x
		}
	}
	return series{Name: name}
}

// total is the sum of the values of a series.
func (s series) total() uint64 { return uint64(math.Round(float64(s.Count) * s.Mean)) }

// value is a quantile, NaN when it is absent.
func value(p *float64) float64 {
	if p == nil {
		return math.NaN()
	}
	return *p
}

// sound returns an error if the generator itself was not good enough: then nothing was measured.
func (s *summary) sound() error {
	if s.State == "complete" && s.Validity.Valid {
		return nil
	}
	return fmt.Errorf("run %s, generator not good enough: %s", s.State, strings.Join(s.Validity.Reasons, "; "))
}

// truth is the part of GET /truth that is measured against.
type truth struct {
	InFlight         int64            `json:"in_flight"`
	InFlightMax      int64            `json:"in_flight_max"`
	Routes           map[string]route `json:"routes"`
	CompletionTokens uint64           `json:"completion_tokens"`
	TTFT             distribution     `json:"ttft"`
	ITL              distribution     `json:"itl"`
	Runs             []struct {
		Run        string `json:"run"`
		Arrivals   uint64 `json:"arrivals"`
		Requests   uint64 `json:"requests"`
		Duplicates uint64 `json:"duplicates"`
		Conflicts  uint64 `json:"conflicts"`
	} `json:"runs"`
}

type route struct {
	Begun     uint64       `json:"begun"`
	Completed uint64       `json:"completed"`
	Latency   distribution `json:"latency"`
}

// distribution is in microseconds.
type distribution struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
}
