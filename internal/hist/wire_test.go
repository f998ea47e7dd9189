package hist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
)

func wire(version byte, fields ...uint64) []byte {
	b := []byte{version}
	for _, f := range fields {
		b = binary.AppendUvarint(b, f)
	}
	return b
}

func TestWireForm(t *testing.T) {
	got := record(5, 5, 2050).AppendBinary(nil)
	// count 3, sum 2060, min 5, max 2050; bucket 5 twice, bucket 2049 (2050 to 2051) once.
	if want := wire(1, 3, 2060, 5, 2050, 5, 2, 2044, 1); !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := new(Histogram).AppendBinary(nil), wire(1, 0, 0, 0, 0); !bytes.Equal(got, want) {
		t.Errorf("empty: got %v, want %v", got, want)
	}
}

// TestMergeCheckedIsMergeBinary holds what is not checked once more to what is, at every length of distances and counts.
func TestMergeCheckedIsMergeBinary(t *testing.T) {
	var h Histogram
	for i, n := 0, uint64(1); i <= topIndex; i, n = i*2+1, n*13%(1<<40)+1 {
		h.add(i, n)
		h.note(n, n*bucketAt(i).Low, bucketAt(i).Low, bucketAt(i).Low)
	}
	data := h.AppendBinary(nil)
	var checked, unchecked Histogram
	for range 2 {
		if err := errors.Join(checked.MergeBinary(data), unchecked.MergeChecked(data)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(checked.AppendBinary(nil), unchecked.AppendBinary(nil)) || checked.Count() != 2*h.Count() {
		t.Error("they differ")
	}
	if err := unchecked.MergeChecked(nil); err == nil {
		t.Error("nothing is taken for a histogram")
	}
}

func TestFullHistogramFitsTheWire(t *testing.T) {
	var h Histogram
	for i := 0; i <= topIndex; i++ {
		h.add(i, MaxCount/NumBuckets)
	}
	h.note(MaxCount/NumBuckets*(topIndex+1), math.MaxUint64, 0, MaxValue)
	data := h.AppendBinary(nil)
	if len(data) > MaxWireSize {
		t.Fatalf("%d bytes", len(data))
	}
	var back Histogram
	if err := back.MergeBinary(data); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.AppendBinary(nil), data) {
		t.Error("it comes back differently")
	}
	if err := back.MergeBinary(data); err == nil {
		t.Error("a count above the limit is accepted")
	}
}

func TestMergeBinaryRefuses(t *testing.T) {
	good := wire(1, 3, 2060, 5, 2050, 5, 2, 2044, 1)
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "cut off", nil},
		{"too long", "more than 262144 bytes", make([]byte, MaxWireSize+1)},
		{"other version", "version 2", wire(2, 0, 0, 0, 0)},
		{"cut header", "cut off", good[:3]},
		{"cut run", "cut off", good[:len(good)-1]},
		{"long varint", "shortest form", append([]byte{1, 0x80, 0}, 0, 0, 0)},
		{"varint of 65 bits", "shortest form", append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...)},
		{"values without buckets", "hold 0 values", wire(1, 1, 5, 5, 5)},
		{"fewer than said", "hold 2 values, the header says 3", wire(1, 3, 15, 5, 5, 5, 2)},
		{"more than said", "more than the 1 values", wire(1, 1, 5, 5, 5, 5, 2)},
		{"empty bucket", "without values", wire(1, 1, 5, 5, 5, 4, 0, 1, 1)},
		{"same bucket twice", "do not ascend", wire(1, 2, 10, 5, 5, 5, 1, 0, 1)},
		{"bucket beyond the last", "beyond the last", wire(1, 1, MaxValue, MaxValue, MaxValue, topIndex+1, 1)},
		{"bucket far beyond the last", "beyond the last", wire(1, 2, MaxValue, 5, MaxValue, 5, 1, math.MaxUint64, 1)},
		{"minimum outside its bucket", "minimum 4", wire(1, 1, 5, 4, 5, 5, 1)},
		{"maximum outside its bucket", "maximum 6", wire(1, 1, 5, 5, 6, 5, 1)},
		{"maximum above the range", "maximum", wire(1, 1, MaxValue+1, MaxValue+1, MaxValue+1, topIndex, 1)},
		{"two values of one", "contradict", wire(1, 1, 2050, 2050, 2051, 2049, 1)},
		{"sum too small", "sum 2059", wire(1, 3, 2059, 5, 2050, 5, 2, 2044, 1)},
		{"sum too large", "sum 2061", wire(1, 3, 2061, 5, 2050, 5, 2, 2044, 1)},
		{"sum of one bucket too small", "sum 4100", wire(1, 2, 4100, 2050, 2051, 2049, 2)},
		{"saturated without reason", "sum", wire(1, 3, math.MaxUint64, 5, 2050, 5, 2, 2044, 1)},
		{"sum of nothing", "without values", wire(1, 0, 1, 0, 0)},
		{"count above the limit", "more than", wire(1, MaxCount+1, 0, 0, 0, 0, MaxCount+1)},
		{"count that overflows", "more than", wire(1, math.MaxUint64, 0, 0, 0, 0, math.MaxUint64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := record(7, 7_000)
			before := h.AppendBinary(nil)
			err := h.MergeBinary(c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if !bytes.Equal(h.AppendBinary(nil), before) {
				t.Error("the histogram has changed")
			}
		})
	}
	if err := new(Histogram).MergeBinary(good); err != nil {
		t.Errorf("the good one is refused: %v", err)
	}
}

// A message of 1 KiB must not make us allocate more than 1 MiB, whatever it says.
func TestMergeBinaryAllocatesLittle(t *testing.T) {
	widest := []byte{1}
	const runs = 340
	var sum uint64
	for i := range uint64(runs) {
		sum += bucketAt(int(i * 68)).Low
	}
	for _, f := range []uint64{runs, sum, 0, bucketAt((runs - 1) * 68).Low} {
		widest = binary.AppendUvarint(widest, f)
	}
	for i := range runs {
		widest = binary.AppendUvarint(widest, uint64(min(i, 1)*68))
		widest = append(widest, 1)
	}
	if len(widest) > 1024 {
		t.Fatalf("%d bytes", len(widest))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h := new(Histogram)
	err := h.MergeBinary(widest)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes allocated for a message of %d", got, len(widest))
	}
}

// What is accepted is in the one form that we write ourselves, adds exactly what it says, and
// gives sane answers; what is refused changes nothing.
func FuzzMergeBinary(f *testing.F) {
	f.Add([]byte{})
	f.Add(new(Histogram).AppendBinary(nil))
	f.Add(record(5, 5, 2050).AppendBinary(nil))
	f.Add(spread().AppendBinary(nil))
	f.Add(record(0, MaxValue, MaxValue+1).AppendBinary(nil))
	f.Add(wire(1, MaxCount, math.MaxUint64, 0, MaxValue, 0, 1, topIndex, MaxCount-1))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := record(7, 7_000)
		before := h.AppendBinary(nil)
		if err := h.MergeBinary(data); err != nil {
			if !bytes.Equal(h.AppendBinary(nil), before) {
				t.Fatal("refused, and yet the histogram has changed")
			}
			return
		}
		var back Histogram
		if err := back.MergeBinary(data); err != nil {
			t.Fatalf("accepted once, then refused: %v", err)
		}
		if n, err := CheckBinary(data); err != nil || n != back.Count() {
			t.Fatalf("checked: %d values, %v; merged: %d", n, err, back.Count())
		}
		if got := back.AppendBinary(nil); !bytes.Equal(got, data) {
			t.Fatalf("%x comes back as %x", data, got)
		}
		if h.Count() != back.Count()+2 {
			t.Fatalf("%d values merged into 2 give %d", back.Count(), h.Count())
		}
		if q := back.Quantile(0.5); q < back.Min() || q > back.Max() {
			t.Fatalf("median %d outside %d to %d", q, back.Min(), back.Max())
		}
	})
}
