package workload

import (
	"fmt"
	"strconv"

	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
)

// Set holds the compiled workloads of a scenario. It never changes and may be used by many workers at once.
type Set struct {
	workloads []*workload
	datasets  []DatasetInfo
}

// DatasetInfo tells what a data set's file holds.
type DatasetInfo struct {
	// Path as the scenario has it.
	Path string
	// Rows is the number of rows, Empty that of the empty lines skipped.
	Rows, Empty uint64
}

// Datasets tells what the data sets hold, each file once, in the order of the scenario.
func (s *Set) Datasets() []DatasetInfo { return s.datasets }

// Fill makes the request of workload w (its index in the scenario) for the arrival k and puts it
// into r, whatever r held before. It fails when a data set's file has changed or cannot be read any more, and
// when a placeholder's value does not fit where it stands; r is then of no use.
//
// Once r's buffers have grown it allocates at most one string, which holds the headers and the path that
// differ from request to request; none without tag_requests and placeholders.
func (s *Set) Fill(w int, k Key, r *Request) error {
	if w < 0 || w >= len(s.workloads) {
		return fmt.Errorf("there is no workload %d", w)
	}
	return s.workloads[w].fill(k, r)
}

// body writes the body of a request.
type body interface {
	append(r *Request) error
}

// textBody is a body of text with placeholders.
type textBody template

func (t *textBody) append(r *Request) (err error) {
	r.Body, err = (*template)(t).append(r.Body, r)
	return err
}

// fileBody is a body that is always the same.
type fileBody []byte

func (f fileBody) append(r *Request) error {
	r.Body = append(r.Body, f...)
	return nil
}

// workload is one compiled workload.
type workload struct {
	base         schedule.Stream // all draws of the workload follow from it
	method, path string
	pathTemplate *template // nil: path is the path
	headers      []Header  // in the order sent; those that vary are empty here
	varying      []varying
	tag          bool // the last two headers are the tags
	streamed     bool
	keep         float64
	rules        *Rules
	rows         *rowOf // nil: no data set
	body         body   // nil: no body
	call         *Call  // nil: no gRPC call
}

// varying is a header with placeholders.
type varying struct {
	index    int
	template *template
}

// plan lays the headers out.
func (w *workload) plan(h *headers) {
	for i, n := range h.list {
		w.headers = append(w.headers, Header{Name: n.name, Value: n.value})
		if n.template != nil {
			w.varying = append(w.varying, varying{i, n.template})
		}
	}
	if w.tag {
		w.headers = append(w.headers, Header{Name: runHeader}, Header{Name: arrivalHeader})
	}
}

func (w *workload) fill(k Key, r *Request) error {
	r.Reset()
	r.key = k
	r.draws = schedule.NewStream(uint64(w.base), "request", hashName(k.Phase), k.Ordinal, uint64(k.Turn))
	r.Method, r.Path, r.Stream, r.Rules, r.Call = w.method, w.path, w.streamed, w.rules, w.call
	r.KeepBody = w.keep > 0 && r.draws.Float64(drawKeep) < w.keep
	r.Header = append(r.Header, w.headers...)
	if w.rows != nil {
		if err := w.rows.data.load(w.rows.row(k.Ordinal), r); err != nil {
			return err
		}
	}
	if err := w.vary(r); err != nil {
		return err
	}
	if w.body == nil {
		return nil
	}
	return w.body.append(r)
}

// vary fills in what differs from request to request outside the body. It is all written into one
// buffer and becomes one string, of which the values are parts.
func (w *workload) vary(r *Request) (err error) {
	for _, v := range w.varying {
		start := len(r.vary)
		if r.vary, err = v.template.append(r.vary, r); err == nil {
			err = scenario.CheckHeaderValue(r.vary[start:])
		}
		if err != nil {
			return fmt.Errorf("header %s: %w", w.headers[v.index].Name, err)
		}
		r.marks = append(r.marks, len(r.vary))
	}
	if w.tag {
		r.vary = appendTag(r.vary, r.key)
		r.marks = append(r.marks, len(r.vary))
	}
	tagged := len(r.vary)
	if w.pathTemplate != nil {
		if r.vary, err = w.pathTemplate.append(r.vary, r); err == nil && len(r.vary)-tagged > scenario.MaxPath {
			err = fmt.Errorf("longer than %d bytes", scenario.MaxPath)
		}
		if err != nil {
			return fmt.Errorf("path: %w", err)
		}
	}
	w.share(r, tagged)
	return nil
}

// share turns the buffer into one string and hands its parts out: to the varying headers, the
// arrival's tag and, from tagged on, the path.
func (w *workload) share(r *Request, tagged int) {
	text, start := string(r.vary), 0
	for i, v := range w.varying {
		r.Header[v.index].Value = text[start:r.marks[i]]
		start = r.marks[i]
	}
	if w.tag {
		r.Header[len(r.Header)-2].Value = r.key.RunID
		r.Header[len(r.Header)-1].Value = text[start:tagged]
	}
	if w.pathTemplate != nil {
		r.Path = text[tagged:]
	}
}

// appendTag appends phase, number and turn as X-Loadline-Arrival has them.
func appendTag(b []byte, k Key) []byte {
	b = append(b, k.Phase...)
	b = append(b, '/')
	b = k.ID.AppendTo(b)
	b = append(b, '/')
	return strconv.AppendUint(b, uint64(k.Turn), 10)
}

// hashName folds a name into a number (FNV-1a).
func hashName(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return h
}
