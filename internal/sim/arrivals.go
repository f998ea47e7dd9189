package sim

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// The headers of loadline's own requests.
const (
	headerRun     = "X-Loadline-Run"
	headerArrival = "X-Loadline-Arrival"
)

// Arrival is one X-Loadline-Arrival seen, as GET /truth/arrivals lists it.
type Arrival struct {
	// Run is the X-Loadline-Run that came with it.
	Run string `json:"run"`
	// Arrival is the header: phase/number/turn, where number may be slot.epoch.iteration.
	Arrival string `json:"arrival"`
	// Count is how often it came.
	Count uint64 `json:"count"`
	// Body is the digest of the first body that came with it: 16 hexadecimal digits of its SHA-256.
	Body string `json:"body"`
}

// RunTruth tells of the arrivals of one run.
type RunTruth struct {
	Run string `json:"run"`
	// Arrivals is the number of different ones, Requests that of all requests that carried one.
	Arrivals uint64 `json:"arrivals"`
	Requests uint64 `json:"requests"`
	// Duplicates is Requests − Arrivals; Conflicts counts those whose body differed from the first.
	Duplicates uint64 `json:"duplicates"`
	Conflicts  uint64 `json:"conflicts"`
	// Set is a digest of the set of arrivals, and Bodies of the set of (arrival, body): equal sets
	// have equal digests, whatever order they came in.
	Set    string `json:"set"`
	Bodies string `json:"bodies"`
}

// arrivalKey is an X-Loadline-Arrival in parts: phase/[slot.epoch.]number/turn.
type arrivalKey struct {
	phase, slot, epoch, turn uint32
	number                   uint64
}

type arrivalSeen struct {
	body  uint64
	count uint32
}

type runArrivals struct {
	name                string
	seen                map[arrivalKey]arrivalSeen
	requests, conflicts uint64
	set, bodies         uint64
}

// arrivalSet remembers the arrivals of each run, at most limit in all.
type arrivalSet struct {
	limit, size int
	runs        map[string]*runArrivals
	order       []*runArrivals
	phases      []string
	phaseIndex  map[string]uint32
	// dropped counts arrivals not remembered for want of room, unread those that could not be parsed.
	dropped, unread uint64
}

func newArrivalSet(limit int) *arrivalSet {
	return &arrivalSet{limit: limit, runs: make(map[string]*runArrivals), phaseIndex: make(map[string]uint32)}
}

// note takes one request down; body is the digest of its body.
func (a *arrivalSet) note(run, arrival string, body uint64) {
	key, ok := a.parse(arrival)
	if !ok || len(run) > MaxName {
		a.unread++
		return
	}
	r := a.run(run)
	if r == nil {
		a.dropped++
		return
	}
	seen, known := r.seen[key]
	if !known && a.size >= a.limit {
		a.dropped++
		return
	}
	r.requests++
	if !known {
		a.size++
		id := hashText(arrival)
		seen.body = body
		r.set += mix(id)
		r.bodies += mix(id ^ mix(body))
	} else if seen.body != body {
		r.conflicts++
	}
	seen.count++
	r.seen[key] = seen
}

func (a *arrivalSet) run(name string) *runArrivals {
	r := a.runs[name]
	if r == nil && len(a.order) < MaxRuns {
		name = strings.Clone(name)
		r = &runArrivals{name: name, seen: make(map[arrivalKey]arrivalSeen)}
		a.runs[name] = r
		a.order = append(a.order, r)
	}
	return r
}

// parse reads phase/number/turn, where number may be slot.epoch.iteration.
func (a *arrivalSet) parse(text string) (k arrivalKey, ok bool) {
	rest, turn, ok1 := cutLast(text, "/")
	phase, number, ok2 := cutLast(rest, "/")
	if !ok1 || !ok2 || len(phase) > MaxName {
		return k, false
	}
	if slot, more, closed := strings.Cut(number, "."); closed {
		epoch, iteration, ok3 := strings.Cut(more, ".")
		if k.slot, ok = parse32(slot); !ok || !ok3 || k.slot == 0 {
			return k, false
		}
		if k.epoch, ok = parse32(epoch); !ok {
			return k, false
		}
		number = iteration
	}
	var err error
	if k.number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return k, false
	}
	if k.turn, ok = parse32(turn); !ok {
		return k, false
	}
	k.phase, ok = a.phase(phase)
	return k, ok
}

func (a *arrivalSet) phase(name string) (uint32, bool) {
	if i, ok := a.phaseIndex[name]; ok {
		return i, true
	}
	if len(a.phases) >= MaxRuns {
		return 0, false
	}
	name = strings.Clone(name)
	i := uint32(len(a.phases))
	a.phases = append(a.phases, name)
	a.phaseIndex[name] = i
	return i, true
}

func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

func parse32(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

// truths tells of each run, in the order of their first arrivals.
func (a *arrivalSet) truths() []RunTruth {
	list := make([]RunTruth, 0, len(a.order))
	for _, r := range a.order {
		n := uint64(len(r.seen))
		list = append(list, RunTruth{
			Run: r.name, Arrivals: n, Requests: r.requests, Duplicates: r.requests - n, Conflicts: r.conflicts,
			Set: hexDigest(r.set), Bodies: hexDigest(r.bodies),
		})
	}
	return list
}

// list returns the arrivals of a run (empty: of all), sorted by run, phase, slot, epoch, number, turn.
func (a *arrivalSet) list(run string) []Arrival {
	var list []Arrival
	names := make([]string, 0, len(a.order))
	for _, r := range a.order {
		if run == "" || r.name == run {
			names = append(names, r.name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		r := a.runs[name]
		for _, k := range a.sortedKeys(r) {
			seen := r.seen[k]
			list = append(list, Arrival{Run: name, Arrival: a.format(k), Count: uint64(seen.count), Body: hexDigest(seen.body)})
		}
	}
	return list
}

func (a *arrivalSet) sortedKeys(r *runArrivals) []arrivalKey {
	keys := make([]arrivalKey, 0, len(r.seen))
	for k := range r.seen {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y arrivalKey) int {
		return cmp.Or(
			cmp.Compare(a.phases[x.phase], a.phases[y.phase]), cmp.Compare(x.slot, y.slot),
			cmp.Compare(x.epoch, y.epoch), cmp.Compare(x.number, y.number), cmp.Compare(x.turn, y.turn),
		)
	})
	return keys
}

func (a *arrivalSet) format(k arrivalKey) string {
	var b []byte
	b = append(b, a.phases[k.phase]...)
	b = append(b, '/')
	if k.slot > 0 {
		b = strconv.AppendUint(b, uint64(k.slot), 10)
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(k.epoch), 10)
		b = append(b, '.')
	}
	b = strconv.AppendUint(b, k.number, 10)
	b = append(b, '/')
	return string(strconv.AppendUint(b, uint64(k.turn), 10))
}

// hexDigest is x in 16 hexadecimal digits.
func hexDigest(x uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], x)
	const digits = "0123456789abcdef"
	var out [16]byte
	for i, v := range b {
		out[2*i], out[2*i+1] = digits[v>>4], digits[v&15]
	}
	return string(out[:])
}

// FNV-1a, for names: short, stable and without allocation.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashText(s string) uint64 {
	h := uint64(fnvOffset)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}
