package sim

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind names what goes wrong.
type Kind string

// The kinds of fault; docs/simulator.md says what a client sees of each.
const (
	KindStatus     Kind = "status"
	KindRefused    Kind = "refused"
	KindReset      Kind = "reset"
	KindTruncated  Kind = "truncated"
	KindEmpty      Kind = "empty"
	KindStall      Kind = "stall"
	KindFreeze     Kind = "freeze"
	KindMalformed  Kind = "malformed"
	KindEndless    Kind = "endless"
	KindSlowHeader Kind = "slow-header"
	KindWrongKey   Kind = "wrong-key"
	KindError      Kind = "error"
	KindHang       Kind = "hang"
)

// Fault is one thing that goes wrong, when, and for which requests. A request has at most one
// fault: the first of Config.Faults whose moment it is and whose draw hits.
type Fault struct {
	// Kind is what goes wrong.
	Kind Kind

	// P is the probability, 0…1, that a request (refused: a connection) whose moment it is has
	// the fault. The draw depends on Config.Seed and the request alone.
	P float64
	// From spares requests 0…From-1, counted from the start or the last reset of the truth.
	From uint64
	// Count ends the fault after so many times; 0: never.
	Count uint64
	// At, Every and Lasting are the moment: from At after the start, for Lasting (0: for good),
	// again each Every (0: once). All zero: always. A freeze lasts For instead of Lasting.
	At, Every, Lasting time.Duration

	// Code is the status of a status fault and the code of an error object, 400…599.
	Code int
	// RetryAfter is sent with a status, in whole seconds rounded up; 0: not sent.
	RetryAfter time.Duration
	// After is the number of tokens that go out before the fault; an answer that is shorter has
	// it after its last token. Of answers that are not streamed, half the body goes out before.
	After int
	// For is the length of a stall, a freeze or the wait before the header.
	For time.Duration
	// Bytes is the length of an endless line; 0: 64 MiB.
	Bytes int64
	// Done makes an empty answer end with "data: [DONE]" (not streamed: with a choice without text).
	Done bool
}

// keysOf lists the parameters that a kind knows, in the order of Fault.String, after those of the moment.
func keysOf(k Kind) ([]string, bool) {
	switch k {
	case KindStatus:
		return []string{"code", "retry_after"}, true
	case KindReset, KindTruncated, KindMalformed:
		return []string{"after"}, true
	case KindStall:
		return []string{"after", "for"}, true
	case KindError:
		return []string{"after", "code"}, true
	case KindEndless:
		return []string{"after", "bytes"}, true
	case KindSlowHeader:
		return []string{"for"}, true
	case KindEmpty:
		return []string{"done"}, true
	case KindFreeze, KindRefused, KindWrongKey, KindHang:
		return nil, true
	default:
		return nil, false
	}
}

func momentKeys(k Kind) []string {
	if k == KindFreeze {
		return []string{"for", "every", "at"}
	}
	return []string{"p", "from", "count", "at", "every", "lasting"}
}

// Kinds lists every kind of fault.
func Kinds() []Kind {
	return []Kind{
		KindStatus, KindRefused, KindReset, KindTruncated, KindEmpty, KindStall, KindFreeze,
		KindMalformed, KindEndless, KindSlowHeader, KindWrongKey, KindError, KindHang,
	}
}

// ParseFault reads "kind" or "kind:key=value,key=value", such as "reset:p=0.01,after=5",
// "freeze:for=1s,every=10s" or "status:p=0.02,code=429,retry_after=1s". Without p every request
// whose moment it is has the fault. The error names all that is wrong.
func ParseFault(text string) (Fault, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(text), ":")
	f := newFault(Kind(strings.ReplaceAll(name, "_", "-")))
	own, known := keysOf(f.Kind)
	if !known {
		return f, fmt.Errorf("fault %q: %q is none of %s", text, name, join(Kinds()))
	}
	allowed := append(momentKeys(f.Kind), own...)
	var problems []error
	for key, value := range pairs(rest) {
		if !slices.Contains(allowed, key) {
			problems = append(problems, fmt.Errorf("%s has no parameter %q; it has %s", f.Kind, key, join(allowed)))
			continue
		}
		if err := f.set(key, value); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		}
	}
	if len(problems) == 0 {
		problems = f.problems()
	}
	if len(problems) > 0 {
		return f, fmt.Errorf("fault %q: %w", text, errors.Join(problems...))
	}
	return f, nil
}

// newFault has the values of the parameters that are not given.
func newFault(k Kind) Fault {
	f := Fault{Kind: k, P: 1}
	own, _ := keysOf(k)
	if slices.Contains(own, "after") {
		f.After = 1
	}
	if k == KindStatus || k == KindError {
		f.Code = http.StatusInternalServerError
	}
	return f
}

func (f *Fault) set(key, value string) (err error) {
	switch key {
	case "p":
		f.P, err = strconv.ParseFloat(value, 64)
	case "from":
		f.From, err = strconv.ParseUint(value, 10, 64)
	case "count":
		f.Count, err = strconv.ParseUint(value, 10, 64)
	case "code":
		f.Code, err = strconv.Atoi(value)
	case "after":
		f.After, err = strconv.Atoi(value)
	case "bytes":
		f.Bytes, err = parseBytes(value)
	case "done":
		f.Done, err = strconv.ParseBool(value)
	default:
		return f.setDuration(key, value)
	}
	if err != nil {
		return fmt.Errorf("%q cannot be read (%s)", value, example(key))
	}
	return nil
}

func (f *Fault) setDuration(key, value string) (err error) {
	var d time.Duration
	if d, err = parseDuration(value); err != nil {
		return err
	}
	switch key {
	case "at":
		f.At = d
	case "every":
		f.Every = d
	case "lasting":
		f.Lasting = d
	case "retry_after":
		f.RetryAfter = d
	case "for":
		f.For = d
	}
	return nil
}

func example(key string) string {
	switch key {
	case "p":
		return "a probability between 0 and 1 is wanted, as p=0.01"
	case "done":
		return "true or false is wanted"
	case "bytes":
		return "a size is wanted, as bytes=4MiB"
	default:
		return "a whole number is wanted, as " + key + "=5"
	}
}

// parseBytes reads a whole number of bytes, KiB, MiB or GiB.
func parseBytes(text string) (int64, error) {
	units := []struct {
		suffix string
		shift  uint
	}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"B", 0}, {"", 0}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 32)
		return n << u.shift, err
	}
	return 0, strconv.ErrSyntax
}

// problems lists what is wrong with the fault.
func (f *Fault) problems() (p []error) {
	bad := func(format string, args ...any) { p = append(p, fmt.Errorf(format, args...)) }
	own, known := keysOf(f.Kind)
	if !known {
		bad("kind %q is none of %s", f.Kind, join(Kinds()))
		return p
	}
	if !(f.P >= 0 && f.P <= 1) {
		bad("p: %v is not between 0 and 1", f.P)
	}
	for _, d := range []time.Duration{f.At, f.Every, f.Lasting, f.RetryAfter, f.For} {
		if d < 0 || d > MaxDelay {
			bad("%s is not between 0s and %s", d, MaxDelay)
		}
	}
	lasting, name := f.Lasting, "lasting"
	if f.Kind == KindFreeze {
		lasting, name = f.For, "for"
	}
	if f.Every > 0 && (lasting <= 0 || lasting >= f.Every) {
		bad("every=%s wants %s between 0s and it, not %s", f.Every, name, lasting)
	}
	if needsFor := f.Kind == KindFreeze || slices.Contains(own, "for"); needsFor && f.For <= 0 {
		bad("for: a duration above zero is wanted, as for=1s")
	}
	if slices.Contains(own, "code") && (f.Code < 400 || f.Code > 599) {
		bad("code: %d is not between 400 and 599", f.Code)
	}
	if f.After < 0 || f.After > MaxTokens {
		bad("after: %d is not between 0 and %d", f.After, MaxTokens)
	}
	if f.Bytes < 0 || f.Bytes > MaxEndless {
		bad("bytes: %d is not between 0 and %d", f.Bytes, MaxEndless)
	}
	return p
}

// String is the form that ParseFault reads, with the parameters that differ from their defaults.
func (f Fault) String() string {
	was := newFault(f.Kind)
	own, _ := keysOf(f.Kind)
	var parts []string
	for _, key := range append(momentKeys(f.Kind), own...) {
		if v := f.value(key); v != was.value(key) {
			parts = append(parts, key+"="+v)
		}
	}
	if len(parts) == 0 {
		return string(f.Kind)
	}
	return string(f.Kind) + ":" + strings.Join(parts, ",")
}

func (f Fault) value(key string) string {
	values := map[string]any{
		"p": f.P, "from": f.From, "count": f.Count, "at": f.At, "every": f.Every, "lasting": f.Lasting,
		"code": f.Code, "retry_after": f.RetryAfter, "after": f.After, "for": f.For, "bytes": f.Bytes, "done": f.Done,
	}
	return fmt.Sprint(values[key])
}

// moment reports whether request n at t nanoseconds after the start may have the fault.
func (f *Fault) moment(n uint64, t int64) bool {
	if n < f.From || t < int64(f.At) {
		return false
	}
	if f.Lasting == 0 {
		return true
	}
	since := t - int64(f.At)
	if f.Every > 0 {
		since %= int64(f.Every)
	}
	return since < int64(f.Lasting)
}

// hits is the draw of the index-th fault for the request with the given key.
func (f *Fault) hits(seed, key uint64, index int) bool {
	if f.P >= 1 {
		return true
	}
	u := mix(seed ^ mix(key^mix(uint64(index)+0x6661756c74)))
	return float64(u>>11)/(1<<53) < f.P
}

// mix scatters the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// pairs yields the key=value pairs of a comma-separated list; hyphens in keys read as underscores.
func pairs(text string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for part := range strings.SplitSeq(text, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if key == "" && value == "" {
				continue
			}
			if !yield(strings.ReplaceAll(strings.TrimSpace(key), "-", "_"), strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// join lists words for a message.
func join[S ~string](words []S) string {
	text := make([]string, len(words))
	for i, w := range words {
		text[i] = string(w)
	}
	return strings.Join(text, ", ")
}
