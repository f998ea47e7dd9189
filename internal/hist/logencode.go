package hist

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"math"
)

// The constants of HdrHistogram's V2 encoding.
const (
	significantDigits = 3
	cookieV2          = 0x1c849303 | 0x10
	cookieCompressed  = 0x1c849304 | 0x10
	headV2            = 40
)

// logEncoder writes histograms in HdrHistogram's compressed V2 form. The library's own encoder gives
// the same bytes (a test holds the two together) and makes a compressor of 800 kB for every
// histogram; a log of an hour has some 60,000 of them.
type logEncoder struct {
	plain  []byte
	packed bytes.Buffer
	zip    *zlib.Writer
}

func newLogEncoder() (*logEncoder, error) {
	e := &logEncoder{}
	var err error
	e.zip, err = zlib.NewWriterLevel(&e.packed, zlib.BestCompression)
	return e, err
}

// encode returns the Base64 text of the histogram.
func (e *logEncoder) encode(h *Histogram) ([]byte, error) {
	e.plain = appendV2(e.plain[:0], h)
	e.packed.Reset()
	e.packed.Write(make([]byte, 8)) // cookie and length
	e.zip.Reset(&e.packed)
	if _, err := e.zip.Write(e.plain); err != nil {
		return nil, err
	}
	if err := e.zip.Close(); err != nil {
		return nil, err
	}
	packed := e.packed.Bytes()
	binary.BigEndian.PutUint32(packed, cookieCompressed)
	binary.BigEndian.PutUint32(packed[4:], uint32(len(packed)-8))
	return base64.StdEncoding.AppendEncode(nil, packed), nil
}

// appendV2 appends the V2 form: a head of 40 bytes and the counts up to the highest value, each as a
// zigzag varint; a run of two or more zeros is one negative number.
func appendV2(b []byte, h *Histogram) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, cookieV2)
	b = binary.BigEndian.AppendUint32(b, 0) // length of the counts, set below
	b = binary.BigEndian.AppendUint32(b, 0) // normalising offset
	b = binary.BigEndian.AppendUint32(b, significantDigits)
	b = binary.BigEndian.AppendUint64(b, 1) // lowest value told apart
	b = binary.BigEndian.AppendUint64(b, MaxValue)
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(1)) // ratio of whole to floating numbers
	next := 0
	for bucket, count := range h.All() {
		b = appendZeros(b, bucket.Index-next)
		b = binary.AppendVarint(b, int64(count))
		next = bucket.Index + 1
	}
	if next == 0 {
		b = append(b, 0) // an empty histogram has the count of value 0
	}
	binary.BigEndian.PutUint32(b[start+4:], uint32(len(b)-start-headV2))
	return b
}

func appendZeros(b []byte, n int) []byte {
	switch n {
	case 0:
		return b
	case 1:
		return append(b, 0)
	default:
		return binary.AppendVarint(b, -int64(n))
	}
}
