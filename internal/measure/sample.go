package measure

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// MaxRecordBytes bounds the encoded size of the request records of one window, so that a window fits one gRPC message.
const MaxRecordBytes = 2 << 20

// Place is where a request stands in the order of samples.
type Place struct {
	Rank   uint64 // of Rank
	Failed bool
	Phase  uint32
	Turn   uint32
	ID     ID
}

// Compare orders requests by which is kept first: failures before others, then by the smallest rank. Requests of equal rank
// are told apart by their numbers, so that the order is total and a sample does not depend on what came first.
func (p *Place) Compare(o *Place) int {
	if p.Failed != o.Failed {
		if p.Failed {
			return -1
		}
		return 1
	}
	if p.Rank != o.Rank { // nearly always
		return cmp.Compare(p.Rank, o.Rank)
	}
	return cmp.Or(
		cmp.Compare(p.Phase, o.Phase),
		cmp.Compare(p.ID.Slot, o.ID.Slot),
		cmp.Compare(p.ID.Epoch, o.ID.Epoch),
		cmp.Compare(p.ID.Number, o.ID.Number),
		cmp.Compare(p.Turn, o.Turn),
	)
}

// Thin joins the request records of two windows: it keeps the first by the order of samples, at most limit of them and at most
// MaxRecordBytes, in that order, and says how many are dropped. Joining one window after the other keeps what one window of
// that limit would have kept, as long as no window was bounded by its bytes. Neither list is changed; the records are shared.
func Thin(seed uint64, limit int, a, b []*pb.RequestRecord) (kept []*pb.RequestRecord, dropped uint64) {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(a, b *pb.RequestRecord) int {
		x, y := placeOf(seed, a), placeOf(seed, b)
		return x.Compare(&y)
	})
	size := 0
	for _, r := range all[:min(limit, len(all))] {
		if size += proto.Size(r); size > MaxRecordBytes {
			break
		}
		kept = append(kept, r)
	}
	return kept, uint64(len(all) - len(kept))
}

func placeOf(seed uint64, r *pb.RequestRecord) Place {
	id := ID{Number: r.GetArrival(), Slot: r.GetSlot(), Epoch: r.GetEpoch()}
	return Place{
		Rank: Rank(seed, r.GetPhase(), r.GetTurn(), id), Failed: r.GetClass() != "" && r.GetClass() != ClassCanceled,
		Phase: r.GetPhase(), Turn: r.GetTurn(), ID: id,
	}
}
