// Package openai drives targets that speak the chat completions and completions of OpenAI, as
// many servers do, streamed and not.
//
// A streamed answer is read event by event. An event counts as content when it holds text,
// a refusal, reasoning under either of its names, or tool-call arguments, and not the empty string.
// What ends an answer well is the terminal event [DONE] or a finish reason, and then a clean end
// of the body; and there must have been content. An error object inside a good answer is a failure,
// whatever follows it.
package openai

import (
	"context"
	"fmt"
	"sync"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits on what the driver holds of one answer, in bytes.
const (
	// MaxAnswer bounds an answer that is not streamed.
	MaxAnswer = 4 << 20
	// maxProblem bounds what is kept of the body of an error answer.
	maxProblem = 8 << 10
	// maxKept bounds the text of an answer that is only kept: somewhat more than an outcome takes,
	// so that a secret at its end is masked whole.
	maxKept = measure.MaxBody + 16<<10
	// keepBuffer is the largest buffer that is kept for the next request.
	keepBuffer = 64 << 10
)

// Config is the machine's side of the driver.
type Config = wire.Local

// Driver sends requests to one target. It may be used by many workers at once.
type Driver struct {
	client *wire.Client
	shape  shape // of streamed chunks
	calls  sync.Pool
}

// New makes the driver of a target with the protocol openai-chat or openai-completions. It opens
// no connection.
func New(t *pb.Target, cfg Config) (*Driver, error) {
	if p := t.GetProtocol(); p != pb.Protocol_PROTOCOL_OPENAI_CHAT && p != pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS {
		return nil, fmt.Errorf("target %q: protocol %v is not one of this driver", t.GetName(), p)
	}
	wc, err := wire.ForTarget(t, cfg)
	if err != nil {
		return nil, err
	}
	client, err := wire.New(wc)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", t.GetName(), err)
	}
	d := &Driver{client: client, shape: shape{"delta", t.GetProtocol() == pb.Protocol_PROTOCOL_OPENAI_CHAT}}
	d.calls.New = func() any {
		c := &call{}
		c.emit = c.event
		return c
	}
	return d, nil
}

// Do sends the request and fills in the outcome from Dispatched on. It returns when the request
// has ended, with End set. When ctx ends, the class is canceled, and the cause of ctx is its text.
func (d *Driver) Do(ctx context.Context, r *workload.Request, o *measure.Outcome) {
	c := d.calls.Get().(*call)
	defer d.calls.Put(c)
	c.begin(d, r, o)
	err := d.client.Do(ctx, &c.req, &c.ex, c)
	c.session.Close() // in this version a session is one request
	c.ex.Fill(o)
	c.finish(err)
	c.clear()
}

// Warm opens n connections for the requests to come.
func (d *Driver) Warm(ctx context.Context, n int) error { return d.client.Warm(ctx, n) }

// Close closes idle connections.
func (d *Driver) Close() error { return d.client.Close() }
