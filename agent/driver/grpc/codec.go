package grpcdriver

import (
	"errors"

	"google.golang.org/grpc/mem"

	"github.com/loadline/loadline/internal/measure"
)

// codec hands bytes through: messages are encoded before, once where they do not vary, and answers
// are decoded only where a check looks at them. It keeps the usual name, so that the content type is
// the usual one.
type codec struct{}

func (codec) Name() string { return "proto" }

// Marshal takes a *[]byte, which must not be written to afterwards.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, errors.New("not a *[]byte")
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

// Unmarshal fills a *frame.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return errors.New("not a *frame")
	}
	f.at = f.now()
	f.size = data.Len()
	if f.size > f.room-len(f.text) {
		f.over = true
		return nil
	}
	for _, b := range data {
		f.text = append(f.text, b.ReadOnlyData()...)
	}
	return nil
}

// frame receives one message after the other.
type frame struct {
	now func() measure.Instant
	at  measure.Instant // when the last one had been read
	// size of the last one; text holds those that fit into room, one after the other.
	size, room int
	text       []byte
	over       bool // one did not fit
}
