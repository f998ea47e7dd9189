package wire

import (
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/loadline/loadline/internal/measure"
)

// userAgent is sent unless the request has one of its own.
const userAgent = "loadline"

// inlineBody is the largest body that goes out in one write with the head, in bytes.
const inlineBody = 32 << 10

// checkHeader reports why a header cannot be sent, or nil. Its error never quotes the value.
func checkHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("header name %q is not valid", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("header %s: the value holds a line end or a control character", name)
	}
	switch len(name) { // most names fall through without a comparison
	case len("Content-Length"), len("Transfer-Encoding"), len("TE"), len("Upgrade"):
		for _, own := range []string{"Content-Length", "Transfer-Encoding", "TE", "Upgrade"} {
			if strings.EqualFold(name, own) {
				return fmt.Errorf("header %s cannot be set: it belongs to the connection", name)
			}
		}
	}
	return nil
}

// checkRequest reports why a request cannot be sent.
func checkRequest(req *Request) error {
	if !httpguts.ValidHeaderFieldName(req.Method) {
		return fail(measure.ClassSend, "the method is not valid")
	}
	for i := range req.Header {
		if err := checkHeader(req.Header[i].Name, req.Header[i].Value); err != nil {
			return &Error{measure.ClassSend, err}
		}
	}
	return nil
}

// appendTarget appends base and path as they stand in the request line. What may not stand there
// is percent-encoded.
func appendTarget(b []byte, base, path string) []byte {
	b = append(b, base...)
	if path == "" && base == "" {
		return append(b, '/')
	}
	if path != "" && path[0] != '/' && path[0] != '?' || path != "" && path[0] == '?' && base == "" {
		b = append(b, '/')
	}
	const hex = "0123456789ABCDEF"
	for i := range len(path) {
		if ch := path[i]; ch <= ' ' || ch >= 0x7f || ch == '#' {
			b = append(b, '%', hex[ch>>4], hex[ch&15])
		} else {
			b = append(b, ch)
		}
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
