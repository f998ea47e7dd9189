package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"
)

// ourRequest is the part of requests.parquet that is joined: instants in microseconds after the due one.
type ourRequest struct {
	Phase        string `parquet:"phase"`
	Arrival      uint64 `parquet:"arrival"`
	Turn         uint32 `parquet:"turn"`
	DispatchedUS *int64 `parquet:"dispatched_us"`
	SentUS       *int64 `parquet:"sent_us"`
	FirstTokenUS *int64 `parquet:"first_token_us"`
	LastTokenUS  *int64 `parquet:"last_token_us"`
	Events       uint64 `parquet:"content_events"`
}

// tag is the request's X-Loadline-Arrival.
func (r *ourRequest) tag() string {
	return r.Phase + "/" + strconv.FormatUint(r.Arrival, 10) + "/" + strconv.FormatUint(uint64(r.Turn), 10)
}

// theirRequest is one line of the simulator's GET /truth/requests: instants in nanoseconds.
type theirRequest struct {
	Arrival string `json:"arrival"`
	BegunNS int64  `json:"begun_ns"`
	FirstNS int64  `json:"first_ns"`
	LastNS  int64  `json:"last_ns"`
	Events  uint64 `json:"events"`
}

// ourRequests reads the records of a run.
func ourRequests(folder string) ([]ourRequest, error) {
	return parquet.ReadFile[ourRequest](filepath.Join(folder, "requests.parquet"))
}

// requests reads what the simulator kept of a run's requests.
func (s *simulator) requests(ctx context.Context, run string) ([]theirRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*settle)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.host+"/truth/requests?run="+run, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /truth/requests: %s", resp.Status)
	}
	var list []theirRequest
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var one theirRequest
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("GET /truth/requests: %w", err)
		}
		list = append(list, one)
	}
	return list, lines.Err()
}

// joined are requests held against the simulator's record of the same arrival; errors in microseconds.
type joined struct {
	count uint64
	// oursAlone and theirsAlone have no partner, torn have another number of events than theirs.
	oursAlone, theirsAlone, torn uint64
	// ttft is ours − theirs of the time to the first token: ours from dispatched to the read that completed it,
	// theirs from the header that was read to right before the write. So it holds the way there and the way back.
	ttft []float64
	// span is the same of the time between the first and the last token, and sent ours from dispatched to sent.
	span, sent []float64
}

// join puts the two records of every arrival together.
func join(ours []ourRequest, theirs []theirRequest) *joined {
	byTag := make(map[string]*theirRequest, len(theirs))
	for i := range theirs {
		byTag[theirs[i].Arrival] = &theirs[i]
	}
	j := &joined{}
	for i := range ours {
		o := &ours[i]
		t := byTag[o.tag()]
		if t == nil || t.FirstNS < 0 || o.DispatchedUS == nil || o.SentUS == nil || o.FirstTokenUS == nil || o.LastTokenUS == nil {
			j.oursAlone++
			continue
		}
		delete(byTag, o.tag())
		j.count++
		if o.Events != t.Events {
			j.torn++
		}
		j.ttft = append(j.ttft, float64(*o.FirstTokenUS-*o.DispatchedUS)-float64(t.FirstNS-t.BegunNS)/1e3)
		j.span = append(j.span, float64(*o.LastTokenUS-*o.FirstTokenUS)-float64(t.LastNS-t.FirstNS)/1e3)
		j.sent = append(j.sent, float64(*o.SentUS-*o.DispatchedUS))
	}
	j.theirsAlone = uint64(len(byTag))
	return j
}

// errorAt is the q-quantile, by rank, of the absolute values; NaN where there are none.
func errorAt(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	size := make([]float64, len(values))
	for i, v := range values {
		size[i] = math.Abs(v)
	}
	slices.Sort(size)
	return size[max(0, int(math.Ceil(q*float64(len(size))))-1)]
}
