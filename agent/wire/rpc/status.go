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

// sectioned takes the header or the trailer of an answer.
func (c *conn) sectioned(s *section) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.find(s.id)
	if call == nil {
		if c.idle(s.id) {
			return breach(http2.ErrCodeProtocol, "HEADERS on a stream that was not opened")
		}
		return nil
	}
	call.BytesIn += frameHead + uint64(s.bytes)
	if s.bad {
		c.reset(call, http2.ErrCodeProtocol, malformed("a field of the header is not valid"))
		return nil
	}
	if s.long {
		c.reset(call, http2.ErrCodeCancel, &wire.Error{Class: measure.ClassOversized, Err: fmt.Errorf("headers are longer than %d KiB", wire.MaxHead>>10)})
		return nil
	}
	if !s.ended && strings.HasPrefix(s.code, "1") && len(s.code) == 3 {
		return nil // an interim answer
	}
	if !call.FirstByte.Reached() {
		c.stamp(call)
		call.FirstByte, call.FirstByteStamp = c.in.At(), call.Stamp
	}
	var err error
	switch {
	case s.ended:
		call.End = c.in.At()
		err = call.trailer(s)
		c.end(call, err)
		return nil
	case call.headed:
		err = malformed("a second header came in the middle of the answer")
	default:
		err = call.header(s)
	}
	if err != nil {
		c.reset(call, http2.ErrCodeCancel, err)
	}
	return nil
}

// header looks at the header of an answer.
func (c *Call) header(s *section) error {
	c.headed = true
	switch {
	case s.code != "200":
		return c.notGRPC(s.code)
	case !isGRPC(s.contentType):
		return malformed("the answer is of another content type than application/grpc")
	case s.encoding != "" && s.encoding != "gzip" && s.encoding != "identity":
		return malformed("the answer is packed in another way than gzip")
	}
	c.packed = s.encoding == "gzip"
	return nil
}

func isGRPC(value string) bool {
	rest, ok := strings.CutPrefix(value, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// trailer reads the status; the answer may have had no other header.
func (c *Call) trailer(s *section) error {
	if !c.headed && s.code != "200" {
		return c.notGRPC(s.code)
	}
	if s.status == "" {
		return &wire.Error{Class: measure.ClassTruncated, Err: fmt.Errorf("the answer ended without a status")}
	}
	n, err := strconv.ParseUint(s.status, 10, 32)
	if err != nil {
		return malformed("the status is no number")
	}
	if c.frame.have > 0 {
		return &wire.Error{Class: measure.ClassTruncated, Err: fmt.Errorf("the answer ended in the middle of a message")}
	}
	c.Answered, c.Code, c.Text = true, uint32(n), unescape(s.message)
	// What is not base64 says nothing.
	c.Details, _ = base64.RawStdEncoding.DecodeString(strings.TrimRight(s.details, "="))
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
