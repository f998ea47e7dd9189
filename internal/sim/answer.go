package sim

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// job is a request that has been understood.
type job struct {
	model         string
	prompt        int
	blocks        []uint64
	output        int
	finish        string
	stream, usage bool
}

// chat answers POST /v1/chat/completions.
func (x *exchange) chat() error {
	return x.answer(func(p *promptReader, a *ask) error { return p.messages(a.Messages) })
}

// completions answers POST /v1/completions.
func (x *exchange) completions() error {
	return x.answer(func(p *promptReader, a *ask) error { return p.prompt(a.Prompt) })
}

func (x *exchange) answer(read func(*promptReader, *ask) error) error {
	j, err := x.understand(read)
	var no *refusal
	if errors.As(err, &no) {
		return x.refuse(no.status, "invalid_request_error", no.message, 0)
	}
	if err != nil {
		return err
	}
	x.end.prompt, x.end.streamed = j.prompt, j.stream
	p := x.server.pace(&x.sleep, j, x.key, x.begun)
	defer p.close()
	if j.stream {
		err = x.stream(j, p)
	} else {
		err = x.unstreamed(j, p)
	}
	if errors.Is(err, errQueueFull) {
		return x.queueFull()
	}
	return err
}

// queueFull refuses where the header is still to come, else cuts the stream.
func (x *exchange) queueFull() error {
	if x.end.status != 0 {
		x.aborted = true
		return errRefused
	}
	return x.refuse(http.StatusServiceUnavailable, "overloaded_error", "The queue is full.", time.Second)
}

func (x *exchange) understand(read func(*promptReader, *ask) error) (*job, error) {
	cfg := &x.server.cfg
	a, tokens, err := parseAsk(x.body)
	if err != nil {
		return nil, err
	}
	if cfg.Model != "" && a.Model != cfg.Model {
		return nil, &refusal{status: http.StatusNotFound, message: fmt.Sprintf("The model %q does not exist.", a.Model)}
	}
	p := newPromptReader(cfg.Law == LawBatching && !cfg.Batching.NoPrefix)
	if err := read(p, &a); err != nil {
		return nil, err
	}
	j := &job{
		model: x.server.modelName(a.Model), prompt: p.tokens, blocks: p.blocks, output: tokens, finish: "length",
		stream: a.Stream, usage: a.StreamOptions.IncludeUsage && !cfg.NoUsage,
	}
	if tokens == 0 {
		j.output, j.finish = cfg.OutputTokens, "stop"
	}
	if limit := cfg.context(); limit > 0 && max(j.prompt, 1)+j.output > limit {
		return nil, badRequest("The prompt of %d tokens and an answer of %d are more than the context of %d.", j.prompt, j.output, limit)
	}
	return j, nil
}

// context is the most tokens of a prompt and its answer; 0: no bound.
func (c *Config) context() int {
	if c.Law != LawBatching {
		return c.Context
	}
	if c.Context == 0 {
		return c.Batching.KV
	}
	return min(c.Context, c.Batching.KV)
}

// pace begins the work on a job of the request with a key.
func (s *Server) pace(sleep *sleeper, j *job, key uint64, begun int64) pace {
	if s.batcher != nil {
		return s.batcher.submit(sleep, j.prompt, j.output, j.blocks)
	}
	return &fixedPace{law: s.cfg.Fixed, rng: rngOf(s, key), sleep: sleep, due: s.clock.calendar.working(begun)}
}

// unstreamed answers with one document when the last token is ready.
func (x *exchange) unstreamed(j *job, p pace) error {
	if err := p.wait(j.output); err != nil {
		return err
	}
	r := newRenderer(x, j)
	x.end.completion = j.output
	tokens := j.output
	if x.fault != nil && x.fault.Kind == KindEmpty && x.fault.Done {
		x.w.Header().Set("Content-Type", "application/json")
		return broken(x.whole(r.document(0, p.cached())))
	}
	return x.document("application/json", r.document(tokens, p.cached()))
}
