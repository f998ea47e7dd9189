package uplink

import (
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxMerged bounds the size of a window that is made of others, in bytes: it must fit one message.
const maxMerged = 12 << 20

// spool holds the windows that are not acknowledged, in order: first those that have been sent, which
// have a number and stay as they are, then those that have not.
type spool struct {
	merge                Merge
	maxWindows, maxBytes int

	numbered []held // sent at least once, at most maxOutstanding
	fresh    []held // never sent
	bytes    int    // of all of them
	again    int    // of numbered, how many the present stream has sent
	last     uint64 // number of the last numbered window
	stuck    bool   // two windows could not be merged
}

// held is a window with its size in bytes, without its number.
type held struct {
	window *pb.Window
	size   int
}

func (s *spool) len() int { return len(s.numbered) + len(s.fresh) }

func (s *spool) full() bool { return s.len() > s.maxWindows || s.bytes > s.maxBytes }

// room says that one more window would stay within the bounds, or that it could be merged.
func (s *spool) room() bool {
	if s.len() < s.maxWindows && s.bytes < s.maxBytes {
		return true
	}
	_, ok := s.pair()
	return ok && !s.stuck
}

// push appends a window, and merges others where that takes the spool beyond its bounds. An error
// says why two of them could not be merged; nothing is lost by that.
func (s *spool) push(w *pb.Window) error {
	h := held{w, proto.Size(w)}
	s.fresh, s.bytes = append(s.fresh, h), s.bytes+h.size
	for s.full() {
		at, ok := s.pair()
		if !ok {
			return nil
		}
		merged, err := s.merge(s.fresh[at].window, s.fresh[at+1].window)
		if err != nil {
			s.stuck = true
			return err
		}
		h := held{merged, proto.Size(merged)}
		s.bytes += h.size - s.fresh[at].size - s.fresh[at+1].size
		s.fresh[at] = h
		s.fresh = slices.Delete(s.fresh, at+1, at+2)
	}
	return nil
}

// pair finds the two neighbours that were never sent and are made of the fewest windows together, the
// oldest such two: so resolution is lost evenly, and first where it is oldest.
func (s *spool) pair() (at int, ok bool) {
	fewest := uint64(0)
	for i := 0; i+1 < len(s.fresh); i++ {
		a, b := s.fresh[i], s.fresh[i+1]
		if a.size+b.size > maxMerged {
			continue
		}
		n := uint64(max(1, a.window.GetMerged())) + uint64(max(1, b.window.GetMerged()))
		if !ok || n < fewest {
			at, fewest, ok = i, n, true
		}
	}
	return at, ok
}

// next returns the next window that the present stream is to send, or nil. One that was never sent
// gets its number.
func (s *spool) next() *pb.Window {
	if s.again == len(s.numbered) {
		if len(s.fresh) == 0 || len(s.numbered) == maxOutstanding {
			return nil
		}
		h := s.fresh[0]
		s.fresh[0], s.fresh = held{}, s.fresh[1:]
		s.last++
		h.window.SetSequence(s.last)
		s.numbered = append(s.numbered, h)
	}
	s.again++
	return s.numbered[s.again-1].window
}

// allSent says that the present stream has sent every window.
func (s *spool) allSent() bool { return len(s.fresh) == 0 && s.again == len(s.numbered) }

// rewind begins a new stream: what was sent before is sent again.
func (s *spool) rewind() { s.again = 0 }

// acknowledged forgets the windows up to a number. It returns how many those are: the coordinator may
// know of windows that an earlier stream sent and the present one has not sent again.
func (s *spool) acknowledged(number uint64) (gone int) {
	for gone < len(s.numbered) && s.numbered[gone].window.GetSequence() <= number {
		s.bytes -= s.numbered[gone].size
		s.numbered[gone] = held{}
		gone++
	}
	s.numbered, s.again = s.numbered[gone:], max(0, s.again-gone)
	return gone
}
