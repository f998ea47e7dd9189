package rpc

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// head takes the header or the trailer of an answer.
func (c *conn) head(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.find(f.StreamID)
	if call == nil {
		if c.idle(f.StreamID) {
			return breach(http2.ErrCodeProtocol, "HEADERS on a stream that was not opened")
		}
		return nil
	}
	call.BytesIn += frameHead + uint64(f.Length)
	if f.Truncated {
		c.reset(call, http2.ErrCodeCancel, &wire.Error{Class: measure.ClassOversized, Err: fmt.Errorf("headers are longer than %d KiB", wire.MaxHead>>10)})
		return nil
	}
	code := f.PseudoValue("status")
	if !f.StreamEnded() && strings.HasPrefix(code, "1") && len(code) == 3 {
		return nil // an interim answer
	}
	if !call.FirstByte.Reached() {
		call.FirstByte = c.in.at
	}
	var err error
	switch {
	case f.StreamEnded():
		call.End = c.in.at
		err = call.trailer(f, code)
		c.end(call, err)
		return nil
	case call.headed:
		err = malformed("a second header came in the middle of the answer")
	default:
		err = call.header(f, code)
	}
	if err != nil {
		c.reset(call, http2.ErrCodeCancel, err)
	}
	return nil
}

// header looks at the header of an answer.
func (c *Call) header(f *http2.MetaHeadersFrame, code string) error {
	c.headed = true
	if code != "200" {
		return c.notGRPC(code)
	}
	for _, field := range f.RegularFields() {
		switch field.Name {
		case "content-type":
			if !isGRPC(field.Value) {
				return malformed("the answer is of another content type than application/grpc")
			}
		case "grpc-encoding":
			if field.Value != "gzip" && field.Value != "identity" {
				return malformed("the answer is packed in another way than gzip")
			}
			c.packed = field.Value == "gzip"
		}
	}
	return nil
}

func isGRPC(value string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(value), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// trailer reads the status; the answer may have had no other header.
func (c *Call) trailer(f *http2.MetaHeadersFrame, code string) error {
	if !c.headed && code != "200" {
		return c.notGRPC(code)
	}
	status := ""
	for _, field := range f.RegularFields() {
		switch field.Name {
		case "grpc-status":
			status = field.Value
		case "grpc-message":
			c.Text = unescape(field.Value)
		case "grpc-status-details-bin":
			// What is not base64 says nothing.
			c.Details, _ = base64.RawStdEncoding.DecodeString(strings.TrimRight(field.Value, "="))
		}
	}
	if status == "" {
		return &wire.Error{Class: measure.ClassTruncated, Err: fmt.Errorf("the answer ended without a status")}
	}
	n, err := strconv.ParseUint(status, 10, 32)
	if err != nil {
		return malformed("the status is no number")
	}
	if c.frame.have > 0 {
		return &wire.Error{Class: measure.ClassTruncated, Err: fmt.Errorf("the answer ended in the middle of a message")}
	}
	c.Answered, c.Code = true, uint32(n)
	return nil
}

// notGRPC is the answer of something before the service. Its code stands for one of gRPC, as the
// document http-grpc-status-mapping.md of gRPC has it.
func (c *Call) notGRPC(code string) error {
	n, err := strconv.Atoi(code)
	if err != nil {
		return malformed("the answer has no status of HTTP")
	}
	c.Answered, c.Text = true, fmt.Sprintf("HTTP status %d (%s) where gRPC has 200", n, http.StatusText(n))
	switch n {
	case http.StatusBadRequest:
		c.Code = uint32(codes.Internal)
	case http.StatusUnauthorized:
		c.Code = uint32(codes.Unauthenticated)
	case http.StatusForbidden:
		c.Code = uint32(codes.PermissionDenied)
	case http.StatusNotFound:
		c.Code = uint32(codes.Unimplemented)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		c.Code = uint32(codes.Unavailable)
	default:
		c.Code = uint32(codes.Unknown)
	}
	return errNotGRPC
}

// errNotGRPC ends a call whose status is known from that of HTTP; Do does not return it.
var errNotGRPC = malformed("the answer is not of gRPC")

// unescape reads the percent-encoding of a status text; what is not such stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
