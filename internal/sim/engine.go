package sim

import (
	"math"
	"time"
)

// idle is the next moment of an engine that has nothing to do.
const idle = math.MaxInt64

// sequence is one request inside the engine: a prompt that is read and an output that is made,
// one token a step. Who submits it fills in the first group; the rest is the engine's.
type sequence struct {
	// prompt and output are in tokens, at least 1 each; prompt + output never above Batching.KV.
	prompt, output int
	// blocks are the hashes of the prompt's whole leading blocks.
	blocks []uint64
	// ticket is who waits for the tokens; the engine only carries it.
	ticket *ticket

	state state
	// cached is the number of prompt tokens found in the prefix cache.
	cached int
	// unread is the rest of the prompt; reading is the part of it that this step reads.
	unread, reading int
	// produced counts the tokens made.
	produced int
	// private is the cache space reserved outside shared blocks.
	private int
	held    []*block
}

// state is where a sequence stands. It only ever rises.
type state uint8

const (
	stateNew state = iota
	stateQueued
	stateRunning
	stateEnded
)

// event says that a sequence has one more token.
type event struct {
	seq *sequence
	// at is the end of the step, in working time.
	at int64
	// produced counts the sequence's tokens, this one included.
	produced int
}

// engine is continuous batching as a state machine. Its time is a series of steps without gaps
// while there is work. At the start of a step sequences are admitted from the queue, first in,
// first out, as long as batch, cache and the step's reading budget have room. At its end each
// sequence whose prompt is read has one more token. A step lasts
//
//	a + b·B + c·K + d·P
//
// with B sequences in the batch, K their tokens in the cache (prompt, and output including the
// token in the making) and P prompt tokens read in it; see Batching.
//
// The whole of prompt and output is reserved at admission, so nothing is ever evicted from under
// a running sequence and the tokens reserved never exceed Batching.KV.
type engine struct {
	law     Batching
	queue   []*sequence
	head    int
	queued  int
	running []*sequence
	prefix  *prefixCache
	private int

	now     int64
	stepEnd int64
	steps   uint64
	hits    uint64
	events  []event
}

func newEngine(law Batching) *engine {
	return &engine{law: law, prefix: newPrefixCache(), stepEnd: idle}
}

// step carries the engine on to now and returns the tokens that came ready, in order of time, and
// the moment at which there is something to do again. The events are valid until the next call.
func (e *engine) step(now int64) ([]event, int64) {
	e.events = e.events[:0]
	for e.stepEnd <= now && len(e.running) > 0 {
		e.now = e.stepEnd
		e.finish()
		e.begin()
	}
	e.now = max(e.now, now)
	return e.events, e.stepEnd
}

// submit queues a sequence at the engine's present; false: the queue is full.
func (e *engine) submit(s *sequence) bool {
	if e.law.Queue > 0 && e.queued >= e.law.Queue {
		s.state = stateEnded
		return false
	}
	s.state = stateQueued
	e.queue = append(e.queue, s)
	e.queued++
	if e.stepEnd == idle {
		e.begin()
	}
	return true
}

// cancel ends a sequence; a running one leaves the batch at the end of the step.
func (e *engine) cancel(s *sequence) {
	if s.state == stateQueued {
		e.queued--
	}
	s.state = stateEnded
}

// used is the cache space taken by live sequences and blocks; with idle blocks it is at most KV.
func (e *engine) used() int { return e.prefix.live*prefixBlock + e.private }

// finish ends the step: tokens are handed out and ended sequences leave.
func (e *engine) finish() {
	e.steps++
	kept := e.running[:0]
	for _, s := range e.running {
		if s.state != stateEnded {
			e.advance(s)
		}
		if s.state == stateEnded {
			e.release(s)
			continue
		}
		kept = append(kept, s)
	}
	clear(e.running[len(kept):])
	e.running = kept
}

func (e *engine) advance(s *sequence) {
	s.unread -= s.reading
	s.reading = 0
	if s.unread > 0 {
		return
	}
	s.produced++
	e.events = append(e.events, event{seq: s, at: e.now, produced: s.produced})
	if s.produced == s.output {
		s.state = stateEnded
	}
}

func (e *engine) release(s *sequence) {
	e.private -= s.private
	e.prefix.release(s.held)
	s.held, s.private = nil, 0
}

// begin starts the next step, if there is anything to do.
func (e *engine) begin() {
	budget := e.law.ReadBudget
	if budget == 0 {
		budget = math.MaxInt
	}
	read, cached := 0, 0
	for _, s := range e.running {
		s.reading = min(s.unread, budget-read)
		read += s.reading
		cached += s.prompt + s.produced + 1
	}
	for len(e.running) < e.law.Batch && read < budget {
		s := e.next()
		if s == nil {
			break
		}
		s.reading = min(s.unread, budget-read)
		read += s.reading
		cached += s.prompt + 1
		e.running = append(e.running, s)
	}
	if len(e.running) == 0 {
		e.stepEnd = idle
		return
	}
	e.stepEnd = e.now + int64(e.law.step(len(e.running), cached, read))
}

// next admits the head of the queue; nil: there is none, or the cache has no room for it.
func (e *engine) next() *sequence {
	for e.head < len(e.queue) && e.queue[e.head].state == stateEnded {
		e.pop()
	}
	if e.head == len(e.queue) {
		return nil
	}
	s := e.queue[e.head]
	if !e.admit(s) {
		return nil
	}
	e.pop()
	e.queued--
	s.state = stateRunning
	return s
}

func (e *engine) pop() {
	e.queue[e.head] = nil
	e.head++
	if e.head >= 1024 && e.head*2 >= len(e.queue) {
		n := copy(e.queue, e.queue[e.head:])
		clear(e.queue[n:])
		e.queue, e.head = e.queue[:n], 0
	}
}

// admit reserves cache space for a sequence, evicting idle blocks where needed.
func (e *engine) admit(s *sequence) bool {
	hit, growth := e.prefix.look(s.blocks)
	private := s.prompt - len(s.blocks)*prefixBlock + s.output
	if e.used()+growth*prefixBlock+private > e.law.KV {
		return false
	}
	s.held = e.prefix.hold(s.blocks, s.held)
	s.private = private
	e.private += private
	for e.used()+e.prefix.idleCount*prefixBlock > e.law.KV && e.prefix.evict() {
	}
	s.cached = min(hit*prefixBlock, s.prompt-1)
	s.unread = s.prompt - s.cached
	e.hits += uint64(s.cached)
	return true
}

// step is the length of a step with the given batch, tokens in the cache and prompt tokens read.
func (b Batching) step(batch, cached, read int) time.Duration {
	return b.Step + time.Duration(batch)*b.PerSequence + time.Duration(cached)*b.PerCached + time.Duration(read)*b.PerPrompt
}
