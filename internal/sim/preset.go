package sim

import (
	"fmt"
	"time"
)

// Presets names the presets.
func Presets() []string { return []string{"small", "large", "fragile"} }

// Default is a simulator by the fixed law: first token after 50 ms, then one each 10 ms, no faults.
func Default() Config {
	return Config{
		Law:            LawFixed,
		Fixed:          FixedLaw{TTFT: Fixed(50 * time.Millisecond), ITL: Fixed(10 * time.Millisecond)},
		OutputTokens:   128,
		Role:           RoleFirst,
		TokensPerEvent: 1,
		EventsPerWrite: 1,
		MeanInput:      220,
		MeanOutput:     128,
	}
}

// Preset is a simulator by the batching law: "small" acts like a model of some eight billion
// parameters on one modest accelerator, "large" like one of seventy billion on several,
// "fragile" like a small one with a short queue that also fails now and then.
func Preset(name string) (Config, error) {
	c := Default()
	c.Law = LawBatching
	c.Model = ""
	switch name {
	case "small":
		c.Batching = Batching{
			Step: 12 * time.Millisecond, PerSequence: 150 * time.Microsecond, PerCached: 40 * time.Nanosecond,
			PerPrompt: 30 * time.Microsecond, Batch: 64, KV: 60_000, ReadBudget: 2048,
		}
		c.Context = 16_384
	case "large":
		c.Batching = Batching{
			Step: 22 * time.Millisecond, PerSequence: 60 * time.Microsecond, PerCached: 20 * time.Nanosecond,
			PerPrompt: 25 * time.Microsecond, Batch: 256, KV: 80_000, ReadBudget: 8192,
		}
		c.Context = 32_768
	case "fragile":
		c.Batching = Batching{
			Step: 15 * time.Millisecond, PerSequence: 500 * time.Microsecond, PerCached: 100 * time.Nanosecond,
			PerPrompt: 60 * time.Microsecond, Batch: 16, KV: 8_000, ReadBudget: 1024, Queue: 64,
		}
		c.Context = 4_096
		c.Faults = []Fault{
			{Kind: KindStatus, P: 0.01, Code: 429, RetryAfter: time.Second},
			{Kind: KindReset, P: 0.005, After: 5},
			{Kind: KindTruncated, P: 0.005, After: 5},
			{Kind: KindStall, P: 0.005, After: 5, For: 3 * time.Second},
		}
	default:
		return Config{}, fmt.Errorf("preset %q is none of %s", name, join(Presets()))
	}
	return c, nil
}
