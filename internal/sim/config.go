package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// Law names how tokens are timed.
type Law string

// The laws.
const (
	// LawFixed draws the times of each request from Config.Fixed, whatever the load.
	LawFixed Law = "fixed"
	// LawBatching lets requests share a simulated accelerator; see Config.Batching.
	LawBatching Law = "batching"
)

// RoleMode says where a streamed chat answer names its role.
type RoleMode string

// The ways.
const (
	// RoleFirst: in a chunk of its own just before the first token, in the same write.
	RoleFirst RoleMode = "first"
	// RoleAtOnce: in a chunk of its own as soon as the request is read, long before the first token.
	RoleAtOnce RoleMode = "at-once"
	// RoleNone: nowhere; the first chunk has content.
	RoleNone RoleMode = "none"
)

// Config is everything a simulator is told. Default and Preset fill one in to start from.
type Config struct {
	// Model is the one model served, and a request that names another is answered 404. Empty: any
	// name is served and repeated in the answer.
	Model string
	// APIKey is what "Authorization: Bearer …" must hold; anything else is answered 401. Empty:
	// not looked at.
	APIKey string
	// Seed of every draw. The draws of a request follow from the seed and its X-Loadline-Arrival,
	// or its number where it has none; so a repeated run meets the same times and faults.
	Seed uint64

	// Law is how tokens are timed.
	Law Law
	// Fixed are the times of LawFixed.
	Fixed FixedLaw
	// Batching is the simulated accelerator of LawBatching.
	Batching Batching
	// Echo is how long /echo takes. Zero: it answers at once.
	Echo Distribution

	// OutputTokens is the length of an answer whose request sets none, 1…MaxTokens; such an
	// answer ends with finish reason "stop", one cut at max_tokens with "length".
	OutputTokens int
	// Context is the most tokens of prompt and answer together; a request for more is answered
	// 400. 0: as many as the cache holds (LawBatching), or no bound.
	Context int

	// Role says where a streamed chat answer names its role.
	Role RoleMode
	// TokensPerEvent is the number of tokens each content event holds, 1…1,000. Above 1 an event
	// goes out when its last token is ready.
	TokensPerEvent int
	// EventsPerWrite is the number of content events written at once, 1…1,000. Above 1 they go
	// out together when the last is ready, as a coalescing proxy sends them.
	EventsPerWrite int
	// FinishWithLast puts the finish reason into the last content chunk instead of one of its own.
	FinishWithLast bool
	// NoUsage leaves out the usage trailer though the request asks for it, as some servers do.
	NoUsage bool

	// Faults are tried in this order; the first that hits a request is its fault. At most
	// MaxFaults, and at most one freeze.
	Faults []Fault

	// Requests is how many requests GET /truth/requests lists one by one, 0…MaxRequests; later ones are counted
	// as dropped. 0: none.
	Requests int

	// MeanInput and MeanOutput are the tokens a request that Server.Capacity reckons with.
	MeanInput, MeanOutput float64

	// Log hears of connection errors and panics. Nil: nobody does.
	Log *slog.Logger
}

// FixedLaw are the times of LawFixed, drawn anew for each request: TTFT from its arrival to its first
// token, ITL between tokens.
type FixedLaw struct {
	TTFT, ITL Distribution
}

// Batching describes the accelerator of LawBatching. A step lasts
// Step + PerSequence·B + PerCached·K + PerPrompt·P; see Capacity for what follows from it.
type Batching struct {
	// Step is what a step takes without work (a of M16): reading the weights. At least 1 µs.
	Step time.Duration
	// PerSequence is added for each sequence in the batch (b of M16).
	PerSequence time.Duration
	// PerCached is added for each token in the cache of those sequences (c of M16).
	PerCached time.Duration
	// PerPrompt is added for each prompt token read in the step. Tokens found in the prefix cache
	// cost nothing.
	PerPrompt time.Duration
	// Batch is the most sequences in a step, 1…MaxBatch.
	Batch int
	// KV is the cache in tokens, 1…MaxKV. A request's prompt and answer are reserved whole when it
	// is admitted; it waits until there is room.
	KV int
	// ReadBudget is the most prompt tokens read in one step; longer prompts are read in several,
	// which keeps the time between tokens of the others short. 0: no bound.
	ReadBudget int
	// Queue is the most requests that wait; one more is answered 503. 0: only MaxConcurrent bounds them.
	Queue int
	// NoPrefix turns the prefix cache off: each prompt is read whole.
	NoPrefix bool
}

// ParseBatching changes base by a list such as "step=12ms,seq=150us,cached=40ns,prompt=30us,
// batch=64,kv=60000,budget=2048,queue=100,prefix=false". The error names all that is wrong.
func ParseBatching(base Batching, text string) (Batching, error) {
	var problems []error
	for key, value := range pairs(text) {
		if err := base.set(key, value); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		}
	}
	problems = append(problems, base.problems()...)
	if len(problems) > 0 {
		return base, fmt.Errorf("batching %q: %w", text, errors.Join(problems...))
	}
	return base, nil
}

func (b *Batching) set(key, value string) error {
	durations := map[string]*time.Duration{"step": &b.Step, "seq": &b.PerSequence, "cached": &b.PerCached, "prompt": &b.PerPrompt}
	numbers := map[string]*int{"batch": &b.Batch, "kv": &b.KV, "budget": &b.ReadBudget, "queue": &b.Queue}
	if d, ok := durations[key]; ok {
		v, err := parseDuration(value)
		*d = v
		return err
	}
	if n, ok := numbers[key]; ok {
		v, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", value)
		}
		*n = v
		return nil
	}
	if key == "prefix" {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		b.NoPrefix = !on
		return nil
	}
	return errors.New("no such parameter; there are step, seq, cached, prompt, batch, kv, budget, queue, prefix")
}

// String is one line for people.
func (b Batching) String() string {
	s := fmt.Sprintf("batching: a step lasts %s + %s a sequence + %s a cached token + %s a prompt token read; batch %d, cache %d tokens",
		b.Step, b.PerSequence, b.PerCached, b.PerPrompt, b.Batch, b.KV)
	if b.ReadBudget > 0 {
		s += fmt.Sprintf(", reads at most %d prompt tokens a step", b.ReadBudget)
	}
	if b.Queue > 0 {
		s += fmt.Sprintf(", queue %d", b.Queue)
	}
	return s
}

func (b Batching) problems() (p []error) {
	ranges := []struct {
		name         string
		v, low, high int
	}{
		{"batch", b.Batch, 1, MaxBatch}, {"kv", b.KV, 2, MaxKV}, {"budget", b.ReadBudget, 0, MaxKV}, {"queue", b.Queue, 0, MaxConcurrent},
	}
	for _, r := range ranges {
		if r.v < r.low || r.v > r.high {
			p = append(p, fmt.Errorf("%s: %d is not between %d and %d", r.name, r.v, r.low, r.high))
		}
	}
	if b.Step < time.Microsecond || b.Step > time.Minute {
		p = append(p, fmt.Errorf("step: %s is not between 1µs and 1m", b.Step))
	}
	costs := []struct {
		name string
		d    time.Duration
	}{{"seq", b.PerSequence}, {"cached", b.PerCached}, {"prompt", b.PerPrompt}}
	for _, c := range costs {
		if c.d < 0 || c.d > time.Second {
			p = append(p, fmt.Errorf("%s: %s is not between 0s and 1s", c.name, c.d))
		}
	}
	return p
}

// validate names all that is wrong with the configuration.
func (c *Config) validate() error {
	var p []error
	bad := func(format string, args ...any) { p = append(p, fmt.Errorf(format, args...)) }
	if len(c.Model) > MaxName || len(c.APIKey) > MaxName {
		bad("model and api key: at most %d bytes each", MaxName)
	}
	switch c.Law {
	case LawFixed:
	case LawBatching:
		for _, err := range c.Batching.problems() {
			bad("batching: %w", err)
		}
	default:
		bad("law: %q is neither fixed nor batching", c.Law)
	}
	for i, d := range []Distribution{c.Fixed.TTFT, c.Fixed.ITL, c.Echo} {
		if err := d.check(); err != nil {
			bad("%s: %w", [...]string{"ttft", "itl", "echo"}[i], err)
		}
	}
	if c.OutputTokens < 1 || c.OutputTokens > MaxTokens {
		bad("output tokens: %d is not between 1 and %d", c.OutputTokens, MaxTokens)
	}
	if c.Context < 0 || c.Context > MaxKV {
		bad("context: %d is not between 0 and %d", c.Context, MaxKV)
	}
	switch c.Role {
	case RoleFirst, RoleAtOnce, RoleNone:
	default:
		bad("role: %q is none of first, at-once, none", c.Role)
	}
	if c.TokensPerEvent < 1 || c.TokensPerEvent > 1000 || c.EventsPerWrite < 1 || c.EventsPerWrite > 1000 {
		bad("tokens per event and events per write: %d and %d are not between 1 and 1000", c.TokensPerEvent, c.EventsPerWrite)
	}
	if c.Requests < 0 || c.Requests > MaxRequests {
		bad("requests: %d is not between 0 and %d", c.Requests, MaxRequests)
	}
	p = append(p, c.faultProblems()...)
	if err := errors.Join(p...); err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	return nil
}

func (c *Config) faultProblems() (p []error) {
	if len(c.Faults) > MaxFaults {
		return []error{fmt.Errorf("faults: %d are more than %d", len(c.Faults), MaxFaults)}
	}
	freezes := 0
	for i := range c.Faults {
		for _, err := range c.Faults[i].problems() {
			p = append(p, fmt.Errorf("fault %d (%s): %w", i+1, c.Faults[i].Kind, err))
		}
		if c.Faults[i].Kind == KindFreeze {
			freezes++
		}
	}
	if freezes > 1 {
		p = append(p, errors.New("faults: more than one freeze"))
	}
	return p
}
