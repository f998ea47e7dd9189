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
	// sent counts tokens, last is the instant of the last content write, gaps those between
	// content events, in microseconds.
	sent int
	last int64
	gaps []uint32
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
		strike: strikeAt(x.fault, j.output), gaps: make([]uint32, 0, min(j.output, maxGaps)),
	}
	defer func() {
		*buffer = s.buf
		x.end.gaps = s.gaps
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
	_, err := x.write(body)
	return broken(err)
}

func (s *stream) run() error {
	cfg := &s.x.server.cfg
	if s.render.chat && cfg.Role == RoleAtOnce {
		if _, err := s.x.write(s.render.role(s.buf[:0])); err != nil {
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
	now, err := s.x.write(b)
	if err != nil {
		return err
	}
	s.note(now, events)
	s.sent = to
	s.x.end.completion = to
	return nil
}

// note takes down the instant of a write with so many content events.
func (s *stream) note(now int64, events int) {
	if s.sent == 0 {
		s.x.end.ttft = now - s.x.begun
	} else {
		s.gaps = append(s.gaps, uint32(min(micros(now-s.last), math.MaxUint32)))
	}
	for range events - 1 {
		s.gaps = append(s.gaps, 0)
	}
	s.last, s.x.end.last = now, now
	s.x.end.events += events
	if len(s.gaps) >= maxGaps {
		s.x.server.ledger.spill(s.x.end.epoch, s.gaps)
		s.gaps = s.gaps[:0]
	}
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
	_, err := s.x.write(b)
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
		_, err := x.write([]byte(malformedEvent))
		return err
	case KindEndless:
		if _, err := x.write([]byte("data: ")); err != nil {
			return err
		}
		return x.endless(f)
	case KindError:
		b := append(s.buf[:0], "data: "...)
		b = append(b, errorText("injected_error", "The simulator was told to fail.", f.Code)...)
		b = append(b, "\n\n"+doneEvent...)
		_, err := x.write(b)
		return broken(err)
	default: // truncated
		return errBroken
	}
}
