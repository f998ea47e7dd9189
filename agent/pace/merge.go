package pace

import "github.com/loadline/loadline/internal/measure"

// Walker yields the arrivals of one phase, due times never falling. *schedule.Walker and
// *schedule.OwnedWalker are walkers.
type Walker interface {
	Next() (n uint64, due int64, ok bool)
}

// Lane is one phase as a part of a Merge.
type Lane struct {
	// Phase is the index of the phase in the scenario.
	Phase int
	// Walker yields its arrivals.
	Walker Walker
}

// Merge yields the arrivals of several phases, which may overlap, in the order in which they are
// due; of those due at the same instant the earlier phase comes first. It is a Source.
type Merge struct {
	heap []head // a binary heap: no entry comes before its parent at (i-1)/2
}

// head is the next arrival of a lane.
type head struct {
	next   Arrival
	walker Walker
}

// NewMerge makes a source of the lanes, of which no two have the same phase. The first arrival of
// every lane is taken at once.
func NewMerge(lanes ...Lane) *Merge {
	m := &Merge{heap: make([]head, 0, len(lanes))}
	for _, lane := range lanes {
		h := head{next: Arrival{Phase: lane.Phase}, walker: lane.Walker}
		if h.advance() {
			m.heap = append(m.heap, h)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m
}

// Len is the number of lanes that have arrivals left.
func (m *Merge) Len() int { return len(m.heap) }

// Next yields the arrival that is due first. It allocates nothing and takes time logarithmic in the lanes.
func (m *Merge) Next() (Arrival, bool) {
	if len(m.heap) == 0 {
		return Arrival{}, false
	}
	first := m.heap[0].next
	if !m.heap[0].advance() {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap[last] = head{} // lets go of the walker
		m.heap = m.heap[:last]
	}
	m.sink(0)
	return first, true
}

// sink moves entry i down until it comes before its children.
func (m *Merge) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if right := child + 1; right < len(m.heap) && m.heap[right].before(&m.heap[child]) {
			child = right
		}
		if !m.heap[child].before(&m.heap[i]) {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}

// advance takes the lane's next arrival; it reports false at the lane's end.
func (h *head) advance() bool {
	n, due, ok := h.walker.Next()
	h.next.Number, h.next.Due = n, measure.Instant(due)
	return ok
}

func (h *head) before(o *head) bool {
	if h.next.Due != o.next.Due {
		return h.next.Due < o.next.Due
	}
	return h.next.Phase < o.next.Phase
}
