package sim

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Capacity is what a configuration can carry, computed from its parameters (formula M16 of the
// project's reference, with cache space reserved at admission):
//
//	n  = o + r − 1,  r = ⌈s / ReadBudget⌉                  steps a request takes; r of them read
//	B* = min(Batch, ⌊KV / (s + o)⌋, ReadBudget·n / s)      requests in flight at the knee
//	K  = s + (o(o+1)/2 + r − 1) / n                        a request's mean tokens in the cache
//	τ  = a + b·B* + c·B*·K + d·s·B*/n                      mean length of a step
//	requests/s = B*/(n·τ),  tokens/s = o·B*/(n·τ)
//
// with s input and o output tokens a request, none of the input found in the prefix cache; r = 1
// without a ReadBudget. The throughput B/τ(B) rises with B, so the largest B that batch, cache and
// reading budget allow is the knee: more requests in flight only wait longer.
type Capacity struct {
	// Law of the configuration. The fixed law has no bound: the figures below except IdleTTFT
	// and IdleITL are zero.
	Law Law
	// Input and Output are the mean tokens of a request that the figures hold for.
	Input, Output float64
	// Requests and Tokens (output) per second at the knee.
	Requests, Tokens float64
	// Knee is the number of requests in flight above which they queue.
	Knee float64
	// Bound says what binds at the knee: "batch", "kv" or "prompt".
	Bound string
	// KneeITL is the mean time between tokens at the knee.
	KneeITL time.Duration
	// IdleTTFT and IdleITL are those of a request that is alone.
	IdleTTFT, IdleITL time.Duration

	text string
}

// Capacity computes what the configuration carries with requests of the given mean tokens, at
// least 1 each.
func (c Config) Capacity(input, output float64) Capacity {
	input, output = max(input, 1), max(output, 1)
	k := Capacity{Law: c.Law, Input: input, Output: output}
	if c.Law != LawBatching {
		k.IdleTTFT, k.IdleITL = c.Fixed.TTFT.Mean(), c.Fixed.ITL.Mean()
		k.text = fmt.Sprintf("fixed: first token after %s, %s between tokens, without a bound", c.Fixed.TTFT, c.Fixed.ITL)
		return k
	}
	k.batching(c.Batching)
	return k
}

func (k *Capacity) batching(b Batching) {
	reads := 1.0
	if b.ReadBudget > 0 {
		reads = math.Ceil(k.Input / float64(b.ReadBudget))
	}
	steps := k.Output + reads - 1
	k.Bound, k.Knee = "batch", float64(b.Batch)
	if n := math.Floor(float64(b.KV) / (k.Input + k.Output)); n < k.Knee {
		k.Bound, k.Knee = "kv", max(n, 1)
	}
	if n := float64(b.ReadBudget) * steps / k.Input; b.ReadBudget > 0 && n < k.Knee {
		k.Bound, k.Knee = "prompt", n
	}
	cached := k.Input + (k.Output*(k.Output+1)/2+reads-1)/steps
	each := float64(b.PerSequence) + float64(b.PerCached)*cached + float64(b.PerPrompt)*k.Input/steps
	tau := float64(b.Step) + k.Knee*each
	k.KneeITL = time.Duration(tau).Round(time.Microsecond)
	k.Requests = k.Knee / (steps * tau) * 1e9
	k.Tokens = k.Requests * k.Output
	k.IdleITL = b.step(1, int(cached), 0).Round(time.Microsecond)
	alone := reads*float64(b.step(1, int(k.Input)+1, 0)) + k.Input*float64(b.PerPrompt)
	k.IdleTTFT = time.Duration(alone).Round(time.Microsecond)
	k.text = b.String()
}

// String is three lines for people, without a last newline.
func (k Capacity) String() string {
	var s strings.Builder
	s.WriteString(k.text)
	if k.Law != LawBatching {
		return s.String()
	}
	fmt.Fprintf(&s, "\ncarries %.1f requests/s = %.0f output tokens/s with %.0f input and %.0f output tokens a request",
		k.Requests, k.Tokens, k.Input, k.Output)
	fmt.Fprintf(&s, "\nbound by %s: knee at %.0f in flight, %s between tokens there; alone: first token after %s, then one each %s",
		k.Bound, k.Knee, k.KneeITL, k.IdleTTFT, k.IdleITL)
	return s.String()
}
