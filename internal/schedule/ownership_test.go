package schedule

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// tableOf draws an ownership with up to four epochs within the first few thousand arrivals, and 1 to 1,000 members.
func tableOf(t *rapid.T) (o *Ownership, members int) {
	o = NewOwnership(weightsOf(t, 1000))
	members = o.epochs[0].split.Len()
	first := uint64(0)
	for range rapid.IntRange(0, 3).Draw(t, "further epochs") {
		first += rapid.Uint64Range(0, 700).Draw(t, "length")
		w := weightsOf(t, 1000)
		members = max(members, len(w))
		if err := o.append(first, w); err != nil {
			t.Fatal(err)
		}
	}
	return o, members
}

func TestOwnershipPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, members := tableOf(t)
		const arrivals = 1500
		owner := slices.Repeat([]int{-1}, arrivals)
		for m := range members {
			var have uint64
			for n, ok := o.Next(m, 0); ok && n < arrivals; n, ok = o.Next(m, n+1) {
				if owner[n] >= 0 {
					t.Fatalf("arrival %d belongs to %d and %d", n, owner[n], m)
				}
				if got := o.Count(m, n); got != have {
					t.Fatalf("member %d counts %d before arrival %d, has %d", m, got, n, have)
				}
				owner[n] = m
				have++
			}
			if got := o.Count(m, arrivals); got != have {
				t.Fatalf("member %d counts %d, has %d", m, got, have)
			}
		}
		for n, m := range owner {
			if got, _ := o.Owner(uint64(n)); got != m || m < 0 {
				t.Fatalf("arrival %d belongs to %d, by Owner to %d", n, m, got)
			}
		}
	})
}

func TestEpochsBeginAnew(t *testing.T) {
	o := NewOwnership([]uint32{1, 1})
	for _, e := range []struct {
		first   uint64
		weights []uint32
	}{{5, []uint32{0, 1}}, {7, []uint32{1, 1, 2}}, {12, []uint32{0, 0}}, {14, []uint32{1}}} {
		if err := o.append(e.first, e.weights); err != nil {
			t.Fatal(err)
		}
	}
	var owners []int
	var epochs []uint32
	for n := range uint64(16) {
		m, e := o.Owner(n)
		owners, epochs = append(owners, m), append(epochs, e)
	}
	if want := []int{0, 1, 0, 1, 0, 1, 1, 0, 1, 2, 2, 0, -1, -1, 0, 0}; !slices.Equal(owners, want) {
		t.Errorf("owners %v, want %v", owners, want)
	}
	if want := []uint32{1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5, 5}; !slices.Equal(epochs, want) {
		t.Errorf("epochs %v, want %v", epochs, want)
	}
	if o.Epochs() != 5 {
		t.Errorf("%d epochs, want 5", o.Epochs())
	}
	if n, ok := o.Next(1, 10); ok {
		t.Errorf("member 1 has arrival %d, want none from 10 on", n)
	}
	if got := o.Count(2, 100) + o.Count(7, 100) + o.Count(-1, 100); got != 2 {
		t.Errorf("members 2, 7 and -1 have %d, want 2 of member 2 alone", got)
	}
}

func TestAppendRefuses(t *testing.T) {
	o := NewOwnership([]uint32{1})
	if err := o.append(10, []uint32{1, 1}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		err        error
	}{
		{"the past", "epoch 3 would begin at arrival 9, before epoch 2, which begins at 10", o.append(9, []uint32{1})},
		{"too many members", "65537 members", o.append(11, make([]uint32, MaxMembers+1))},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, c.err, c.want)
		}
	}
	if err := o.append(10, []uint32{0, 1}); err != nil {
		t.Errorf("an epoch at the same arrival: %v", err)
	}
	if m, e := o.Owner(10); m != 1 || e != 3 {
		t.Errorf("arrival 10 belongs to member %d by epoch %d, want the last epoch to count", m, e)
	}
	for o.Epochs() < MaxEpochs {
		if err := o.append(20, []uint32{1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.append(20, []uint32{1}); err == nil {
		t.Error("more epochs than the limit")
	}
}
