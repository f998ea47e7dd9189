// Package workload makes requests: what the arrival with a given number asks of its target.
//
// A request follows from the scenario, its seed and the arrival alone. So any agent makes the same
// bytes for the same arrival, in whatever order it is asked, on any processor, and the number of
// agents changes nothing. Random draws come from counter-based streams, never from shared state.
//
// The package is pure: it reads data sets through an io.ReaderAt and is given its secrets.
package workload

import (
	"io"
	"time"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Header is one header line of a request. Name is written as the scenario has it; no two headers
// of a request have names that differ in case alone.
type Header struct{ Name, Value string }

// Request is what a driver sends. A worker owns one and has it filled again and again: Fill
// overwrites everything and keeps the buffers. Strings in it may be kept; Header and Body may not.
type Request struct {
	// Method is the HTTP method.
	Method string
	// Path is appended to the path of the target's URL; it begins with a slash and may hold a query.
	Path string
	// Header holds every header but Content-Length and, unless the scenario sets it, Host: content
	// type, credentials, the headers of target and workload, and the tags.
	Header []Header
	// Body is the body as sent; empty: none. Of a gRPC call it holds the JSON text of those messages
	// that differ from request to request, one after the other.
	Body []byte
	// Call is the gRPC call to make, shared by all requests of a workload; nil: none.
	Call *Call
	// Ends says where each text in Body ends: one for each message of Call that has no text of its own.
	Ends []int
	// Stream says that a streamed answer is asked for.
	Stream bool
	// KeepBody says that the answer's text is to be kept (capture.bodies).
	KeepBody bool
	// Rules say what makes the answer a success; shared by all requests of a workload.
	Rules *Rules
	// MaxTokens is the longest answer asked for, in tokens; 0: no limit was sent.
	MaxTokens uint64

	// key is the arrival that the request is made for, draws the stream of its random draws.
	key   Key
	draws schedule.Stream
	// line is the data set's row as read from the file, fields its members.
	line   []byte
	fields []field
	// vary holds the texts of headers and path that differ from request to request, marks where each ends.
	vary  []byte
	marks []int
}

// Reset empties the request and keeps its buffers.
func (r *Request) Reset() {
	*r = Request{
		Header: r.Header[:0], Body: r.Body[:0], Ends: r.Ends[:0],
		line: r.line[:0], fields: r.fields[:0], vary: r.vary[:0], marks: r.marks[:0],
	}
}

// Call is a gRPC call. What the method and its messages are, only the service's description tells, which is
// the driver's business: it turns the JSON text of messages into bytes, once where Messages has the text.
type Call struct {
	// Place is where the call stands in the scenario, as workloads[0].grpc.
	Place string
	// Method is the full name of the method, as package.Service/Method.
	Method string
	// Messages are the texts of the messages to send, as JSON; at least one. Nil: the text differs from
	// request to request and stands in Request.Body.
	Messages [][]byte
	// List says that the scenario gave a list of messages, for a stream of requests.
	List bool
	// Every is the time from one message to the next; 0: at once.
	Every time.Duration
	// Deadline is sent to the server and bounds the call; 0: none.
	Deadline time.Duration
	// Gzip says that messages are packed.
	Gzip bool
}

// Rules say what makes an answer a success.
type Rules struct {
	// Expect lists the statuses that count as success; empty: any 2xx.
	Expect []uint32
	// Checks are the workload's checks, in the order of the scenario.
	Checks []*pb.Check
	// NeedContent says that an answer without content is a failure (model protocols).
	NeedContent bool
}

// Key names the arrival, and the request within its session, that a request is made for.
type Key struct {
	// RunID is the run's id, as sent in X-Loadline-Run.
	RunID string
	// Phase is the name of the arrival's phase.
	Phase string
	// ID is the arrival's number within its phase.
	ID measure.ID
	// Turn is the number of the request within its session, from 0.
	Turn uint32
	// Ordinal is the arrival's number within its workload over the whole run, from 0.
	Ordinal uint64
}

// Files opens a file that the scenario names and gives its size in bytes. The package never closes
// what it returns: who opened the files closes them after the last Fill.
type Files func(path string) (io.ReaderAt, int64, error)

// Secrets looks a secret up. Its error names the variable or file, never a value.
type Secrets func(ref *pb.SecretRef) (string, error)
