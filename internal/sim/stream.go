package sim

import "math"

// stream writes one answer as server-sent events.
type stream struct {
	x      *exchange
	job    *job
	render *renderer
	pace   pace
	buf    []byte
	// strike is the number of tokens after which the fault of the request strikes.
	strike int
	sent   int // tokens
	out    *emission
}

// stream answers a job token by token.
func (x *exchange) stream(j *job, p pace) error {
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	if f := x.fault; f != nil && f.Kind == KindEmpty {
		return x.empty(f)
	}
	buffer := x.server.borrow()
	defer x.server.recycle(buffer)
	s := &stream{
		x: x, job: j, render: newRenderer(x, j), pace: p, buf: (*buffer)[:0],
		strike: strikeAt(x.fault, j.output), out: newEmission(x.server.ledger, &x.end, x.conn, j.output),
	}
	defer func() {
		*buffer = s.buf
		s.out.settle(&x.sleep)
	}()
	return s.run()
}

// strikeAt is after how many of the tokens a fault strikes; never: MaxInt.
func strikeAt(f *Fault, tokens int) int {
	if f == nil {
		return math.MaxInt
	}
	switch f.Kind {
	case KindReset, KindTruncated, KindStall, KindMalformed, KindEndless, KindError:
		return min(f.After, tokens)
	default:
		return math.MaxInt
	}
}

// empty answers without content.
func (x *exchange) empty(f *Fault) error {
	var body []byte
	if f.Done {
		body = []byte(doneEvent)
	}
	err := x.write(body)
	return broken(err)
}

func (s *stream) run() error {
	cfg := &s.x.server.cfg
	if s.render.chat && cfg.Role == RoleAtOnce {
		if err := s.x.write(s.render.role(s.buf[:0])); err != nil {
			return err
		}
	}
	spoiled := false
	for {
		if s.sent == s.strike {
			s.strike = math.MaxInt
			spoiled = spoiled || s.x.fault.Kind != KindStall
			if err := s.suffer(); err != nil {
				return err
			}
		}
		if s.sent == s.job.output {
			break
		}
		if err := s.tokens(s.next(cfg)); err != nil {
			return err
		}
	}
	err := s.close(cfg)
	if spoiled {
		return broken(err)
	}
	return err
}

// next is the number of tokens sent once the next write is done.
func (s *stream) next(cfg *Config) int {
	n := min(s.sent+cfg.TokensPerEvent*cfg.EventsPerWrite, s.job.output)
	if s.sent < s.strike {
		n = min(n, s.strike)
	}
	return n
}

// tokens waits for tokens up to number to and writes them.
func (s *stream) tokens(to int) error {
	if err := s.pace.wait(to); err != nil {
		return err
	}
	cfg := &s.x.server.cfg
	b := s.buf[:0]
	if s.sent == 0 && s.render.chat && cfg.Role == RoleFirst {
		b = s.render.role(b)
	}
	events := 0
	for from := s.sent; from < to; from += cfg.TokensPerEvent {
		end := min(from+cfg.TokensPerEvent, to)
		b = s.render.content(b, from, end, cfg.FinishWithLast && end == s.job.output)
		events++
	}
	s.buf = b
	if err := s.x.emit(b, s.out, events); err != nil {
		return err
	}
	s.sent = to
	s.x.end.completion = to
	return nil
}

// close writes what follows the last token, in one write.
func (s *stream) close(cfg *Config) error {
	b := s.buf[:0]
	if !cfg.FinishWithLast {
		b = s.render.finish(b)
	}
	if s.job.usage {
		b = s.render.trailer(b, s.job.output, s.pace.cached())
	}
	b = append(b, doneEvent...)
	s.buf = b
	err := s.x.write(b)
	return err
}

// suffer plays the fault of the request. It returns nil where the stream goes on.
func (s *stream) suffer() error {
	x, f := s.x, s.x.fault
	switch f.Kind {
	case KindReset:
		return x.reset()
	case KindStall:
		return x.stall(f)
	case KindMalformed:
		err := x.write([]byte(malformedEvent))
		return err
	case KindEndless:
		if err := x.write([]byte("data: ")); err != nil {
			return err
		}
		return x.endless(f)
	case KindError:
		b := append(s.buf[:0], "data: "...)
		b = append(b, errorText("injected_error", "The simulator was told to fail.", f.Code)...)
		b = append(b, "\n\n"+doneEvent...)
		err := x.write(b)
		return broken(err)
	default: // truncated
		return errBroken
	}
}
