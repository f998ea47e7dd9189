package rpc

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// read is the goroutine that reads.
func (c *conn) read() {
	for {
		head, err := c.fr.ReadFrameHeader()
		if err == nil {
			err = c.frame(head)
		}
		if err != nil {
			c.stop(err)
			return
		}
	}
}

// violation is a breach of the protocol that ends the connection.
type violation struct {
	code http2.ErrCode
	what string
}

func (v *violation) Error() string { return v.what }

func breach(code http2.ErrCode, what string) error { return &violation{code, what} }

// stop ends the connection as the error of a read says.
func (c *conn) stop(err error) {
	var own *violation
	var protocol http2.ConnectionError
	switch {
	case errors.As(err, &own):
		c.violated(own.code, own.what)
	case errors.As(err, &protocol):
		c.violated(http2.ErrCode(protocol), http2.ErrCode(protocol).String())
	case errors.Is(err, http2.ErrFrameTooLarge):
		c.violated(http2.ErrCodeFrameSize, "a frame is too large, or this is no HTTP/2")
	default:
		c.fail(wire.BrokenError(err))
	}
}

// frame reads one frame. DATA and headers are taken from the buffer as they are; the rest the framer parses and checks.
func (c *conn) frame(head http2.FrameHeader) error {
	if !c.greeted && head.Type != http2.FrameSettings {
		return breach(http2.ErrCodeProtocol, "it begins with a frame that is no SETTINGS")
	}
	switch head.Type {
	case http2.FrameData:
		return c.data(head)
	case http2.FrameHeaders, http2.FrameContinuation:
		return c.headers(head)
	}
	f, err := c.fr.ReadFrameForHeader(head)
	if err != nil {
		var broken http2.StreamError
		if !errors.As(err, &broken) {
			return err
		}
		c.misled(broken.StreamID, broken.Code, "a frame of the stream is not valid")
		return nil
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.widen(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.owe(append(appendHead(nil, len(f.Data), http2.FramePing, http2.FlagPingAck, 0), f.Data[:]...))
		}
	case *http2.RSTStreamFrame:
		c.turnedDown(f)
	case *http2.GoAwayFrame:
		c.away(f)
	case *http2.PushPromiseFrame:
		return breach(http2.ErrCodeProtocol, "it pushes, which it was told not to")
	}
	return nil
}

// owe queues an answer that the protocol asks for.
func (c *conn) owe(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) > maxOwed {
		return breach(http2.ErrCodeEnhanceYourCalm, "it asks and does not read")
	}
	c.out = append(c.out, frame...)
	c.push()
	return nil
}

// find finds a call; the lock is held. Nil: it is over.
func (c *conn) find(id uint32) *Call {
	if c.last != nil && c.last.id == id {
		return c.last
	}
	c.last = c.calls[id]
	return c.last
}

// idle says that a stream was never opened; the lock is held.
func (c *conn) idle(id uint32) bool { return id%2 == 0 || id >= c.nextID }

// misled ends a call whose server breaks the protocol on its stream.
func (c *conn) misled(id uint32, code http2.ErrCode, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.find(id); call != nil {
		c.reset(call, code, malformed(what))
	}
}

func malformed(what string) error {
	return &wire.Error{Class: measure.ClassMalformed, Err: errors.New(what)}
}

// data takes a DATA frame in, piece by piece as it comes.
func (c *conn) data(head http2.FrameHeader) error {
	left, pad := int(head.Length), 0
	if head.Flags.Has(http2.FlagDataPadded) {
		b, err := c.br.ReadByte()
		if err != nil {
			return err
		}
		if left--; int(b) > left {
			return breach(http2.ErrCodeProtocol, "a frame is padded with more than it holds")
		}
		pad = int(b)
	}
	end := head.Flags.Has(http2.FlagDataEndStream)
	for first := true; first || left > 0; first = false {
		var p []byte
		if left > 0 {
			if _, err := c.br.Peek(1); err != nil {
				return err
			}
			p, _ = c.br.Peek(min(left, c.br.Buffered())) // they are there
		}
		left -= len(p)
		inside := p[:min(len(p), max(len(p)+left-pad, 0))]
		if err := c.taken(head, inside, first, end && left == 0); err != nil {
			return err
		}
		_, _ = c.br.Discard(len(p))
	}
	return nil
}

// taken gives a piece of a DATA frame to its call.
func (c *conn) taken(head http2.FrameHeader, p []byte, first, end bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.find(head.StreamID)
	if first {
		if err := c.account(head, call); err != nil {
			return err
		}
	}
	if call == nil {
		return nil
	}
	if !call.headed {
		c.reset(call, http2.ErrCodeProtocol, malformed("messages came before the header of the answer"))
		return nil
	}
	c.stamp(call)
	if err := call.frame.take(call, p, c.in.At()); err != nil {
		c.reset(call, http2.ErrCodeCancel, err)
		return nil
	}
	if end {
		call.End = c.in.At()
		c.end(call, &wire.Error{Class: measure.ClassTruncated, Err: errors.New("the answer ended without a status")})
	}
	return nil
}

// stamp notes when the kernel had what the latest read took; the lock is held.
func (c *conn) stamp(call *Call) {
	at, dropped := c.in.Stamp()
	if call.Stamp = at; dropped {
		call.StampsDropped++
	}
}

// account counts a DATA frame against the windows and opens them anew; the lock is held.
func (c *conn) account(head http2.FrameHeader, call *Call) error {
	if c.idle(head.StreamID) {
		return breach(http2.ErrCodeProtocol, "DATA on a stream that was not opened")
	}
	n := int(head.Length)
	if c.got += n; c.got > connWindow/2 {
		c.out = appendWord(c.out, http2.FrameWindowUpdate, 0, uint32(c.got))
		c.got = 0
		c.push()
	}
	if call == nil {
		return nil
	}
	call.BytesIn += frameHead + uint64(n)
	if call.got += n; call.got > streamWindow/2 && !head.Flags.Has(http2.FlagDataEndStream) {
		c.out = appendWord(c.out, http2.FrameWindowUpdate, call.id, uint32(call.got))
		call.got = 0
		c.push()
	}
	return nil
}

// settings takes the server's settings on.
func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	if !c.greeted {
		c.slot.room.Store(MaxStreams)
	}
	err := f.ForeachSetting(c.set)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if !c.greeted {
		c.greeted = true
		close(c.ready)
	}
	return c.owe(appendHead(nil, 0, http2.FrameSettings, http2.FlagSettingsAck, 0))
}

// set takes one setting on; the lock is held.
func (c *conn) set(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.enc.SetMaxDynamicTableSizeLimit(s.Val)
		c.resized = true
	case http2.SettingInitialWindowSize:
		by := int64(s.Val) - c.initial
		c.initial = int64(s.Val)
		for _, call := range c.calls {
			if call.window += by; call.window > maxWindow {
				return breach(http2.ErrCodeFlowControl, "a window is larger than can be")
			}
		}
		c.feed()
	case http2.SettingMaxFrameSize:
		c.largest = int(s.Val)
	case http2.SettingMaxConcurrentStreams:
		c.most = min(s.Val, MaxStreams)
		c.slot.room.Store(int64(c.most))
		defer c.pool.roomy()
	}
	return nil
}

// widen opens a window of ours.
func (c *conn) widen(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.window += int64(f.Increment); c.window > maxWindow {
			return breach(http2.ErrCodeFlowControl, "a window is larger than can be")
		}
		c.feed()
		return nil
	}
	call := c.find(f.StreamID)
	if call == nil {
		if c.idle(f.StreamID) {
			return breach(http2.ErrCodeProtocol, "WINDOW_UPDATE on a stream that was not opened")
		}
		return nil
	}
	if call.window += int64(f.Increment); call.window > maxWindow {
		c.reset(call, http2.ErrCodeFlowControl, malformed("a window is larger than can be"))
		return nil
	}
	if call.hungry {
		call.hungry = false
		call.rouse()
	}
	return nil
}

// turnedDown ends a call that the server reset.
func (c *conn) turnedDown(f *http2.RSTStreamFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.find(f.StreamID)
	if call == nil {
		return
	}
	call.BytesIn += frameHead + 4
	call.End = c.in.At()
	switch {
	case f.ErrCode == http2.ErrCodeRefusedStream:
		c.end(call, turnedAway())
		return
	case f.ErrCode == http2.ErrCodeCancel && call.Deadline > 0 && call.End >= call.Dispatched+measure.Instant(call.Deadline):
		c.end(call, ErrDeadline) // the server kept it too, and was first to act
		return
	}
	c.end(call, &wire.Error{Class: measure.ClassReset, Err: fmt.Errorf("the server reset the stream: %v", f.ErrCode)})
}

func turnedAway() *wire.Error {
	return &wire.Error{Class: measure.ClassReset, Err: errors.New("the server turned the stream away; it is not sent again")}
}

// away lets a connection go that the server is about to close. Calls that it will not look at fail.
func (c *conn) away(f *http2.GoAwayFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, call := range c.calls {
		if id > f.LastStreamID {
			call.End = c.in.At()
			c.end(call, turnedAway())
		}
	}
	if c.err == nil {
		c.leave()
	}
}
