package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// A journal is a file header and then frames. A frame is what one group commit wrote and synced:
//
//	magic (4) · length of the body (4) · CRC-32C of the body (4) · CRC-32C of the 12 bytes before (4) · body
//
// all little-endian. The body is records, each a varint of its length and the message. One frame a
// commit means that only the last frame can ever be torn: everything before it was synced first.
const (
	fileHeader  = "loadline journal 1\n"
	frameMagic  = "\xf5LLj"
	frameHeader = 16
	// MaxFrame bounds the body of one frame, in bytes.
	MaxFrame = 64 << 20
	// MaxRecord bounds one record, in bytes.
	MaxRecord = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends one record to a frame's body.
func appendRecord(body []byte, record *pb.JournalRecord) ([]byte, error) {
	size := proto.Size(record)
	if size > MaxRecord {
		return body, fmt.Errorf("journal record of %d bytes is larger than the limit of %d", size, MaxRecord)
	}
	body = protowire.AppendVarint(body, uint64(size))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(body, record)
}

// appendFrame appends a whole frame with the given body to b.
func appendFrame(b, body []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, body...)
}

var (
	errShort  = errors.New("the frame is cut off")
	errHeader = errors.New("the frame's header is damaged")
	errBody   = errors.New("the frame's body is damaged")
)

// readFrame takes one frame off the beginning of data.
func readFrame(data []byte) (body, rest []byte, err error) {
	if len(data) < frameHeader {
		return nil, data, errShort
	}
	sum := binary.LittleEndian.Uint32(data[12:])
	if string(data[:4]) != frameMagic || sum != crc32.Checksum(data[:12], castagnoli) {
		return nil, data, errHeader
	}
	length := int(binary.LittleEndian.Uint32(data[4:]))
	switch {
	case length > MaxFrame:
		return nil, data, errHeader
	case len(data)-frameHeader < length:
		return nil, data, errShort
	}
	body, rest = data[frameHeader:frameHeader+length], data[frameHeader+length:]
	if binary.LittleEndian.Uint32(data[8:]) != crc32.Checksum(body, castagnoli) {
		return nil, data, errBody
	}
	return body, rest, nil
}

// holdsFrame reports whether a whole frame stands anywhere in data.
func holdsFrame(data []byte) bool {
	for {
		at := bytes.Index(data, []byte(frameMagic))
		if at < 0 {
			return false
		}
		if _, _, err := readFrame(data[at:]); err == nil {
			return true
		}
		data = data[at+1:]
	}
}

// eachRecord hands the records of a body to visit, until it returns an error.
func eachRecord(body []byte, visit func(*pb.JournalRecord) error) error {
	return eachData(body, func(data []byte) error { return decodeTo(data, visit) })
}

// eachLean is eachRecord for those who look at request records: it leaves out what windows have counted, which is most of
// a journal, and takes long to decode. Records that are neither a header nor a window are left out altogether.
func eachLean(body []byte, visit func(*pb.JournalRecord) error) error {
	var lean []byte
	return eachData(body, func(data []byte) error {
		number, _, at := protowire.ConsumeTag(data)
		switch number {
		case headerField:
		case windowField:
			window, n := protowire.ConsumeBytes(data[at:])
			if n < 0 || at+n < len(data) {
				break // not as this package writes it
			}
			kept, err := appendWithoutGroups(lean[:0], window)
			if err != nil {
				return err
			}
			lean = kept
			w := &pb.Window{}
			if err := proto.Unmarshal(lean, w); err != nil {
				return fmt.Errorf("record: %w", err)
			}
			return visit(pb.JournalRecord_builder{Window: w}.Build())
		default:
			if at > 0 {
				return nil
			}
		}
		return decodeTo(data, visit)
	})
}

// Numbers of fields in the schema.
const (
	headerField = 1 // of JournalRecord
	windowField = 2 // of JournalRecord
	groupsField = 7 // of Window
)

// appendWithoutGroups appends an encoded window without its groups to b.
func appendWithoutGroups(b, window []byte) ([]byte, error) {
	for len(window) > 0 {
		number, kind, n := protowire.ConsumeField(window)
		if n < 0 {
			return b, fmt.Errorf("record: %w", protowire.ParseError(n))
		}
		if number != groupsField || kind != protowire.BytesType {
			b = append(b, window[:n]...)
		}
		window = window[n:]
	}
	return b, nil
}

func decodeTo(data []byte, visit func(*pb.JournalRecord) error) error {
	record := &pb.JournalRecord{}
	if err := proto.Unmarshal(data, record); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return visit(record)
}

// eachData hands the encoded records of a body to visit, until it returns an error.
func eachData(body []byte, visit func([]byte) error) error {
	for len(body) > 0 {
		data, n := protowire.ConsumeBytes(body)
		if n < 0 {
			return fmt.Errorf("record length: %w", protowire.ParseError(n))
		}
		if err := visit(data); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}
