package scenario_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestHeaderNames(t *testing.T) {
	for name, want := range map[string]string{
		"X-A": "", "host": "", "User-Agent": "", "!#$%&'*+-.^_`|~09az": "", "content-type": "",
		"": "not the name", "a b": "not the name", "a:b": "not the name", "ü": "not the name", "a\n": "not the name",
		"Accept-Encoding": "compressed answers", "Expect": "HTTP client", "keep-alive": "HTTP client", "Proxy-Connection": "HTTP client",
		"Content-Length": "HTTP client", "transfer-encoding": "HTTP client", "Connection": "HTTP client", "UPGRADE": "HTTP client", "TE": "HTTP client", "Trailer": "HTTP client",
		"x-loadline-x": "loadline's own",
	} {
		err := scenario.CheckHeaderName(name)
		var e *scenario.HeaderError
		if err == nil != (want == "") || err != nil && (!errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Message, want)) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	var names []string
	for name, err := range scenario.HeaderNames(map[string]*pb.HeaderValue{"x-b": nil, "X-B": nil, "te": nil, "a": nil}) {
		if err != nil {
			name += ": " + err.Error()
		}
		names = append(names, name)
	}
	want := []string{"X-B", "a", "te: te is set by the HTTP client itself (leave it out)", `x-b: is "X-B" again: the names of headers have no case (keep one of the two)`}
	if !slices.Equal(names, want) {
		t.Errorf("%q\nwant %q", names, want)
	}
}

func TestHeaderValues(t *testing.T) {
	for value, ok := range map[string]bool{
		"": true, "a\tb é\x80": true, strings.Repeat("x", scenario.MaxHeaderValue): true,
		"a\nb": false, "a\rb": false, "\x00": false, "\x7f": false, strings.Repeat("x", scenario.MaxHeaderValue+1): false,
	} {
		if err := scenario.CheckHeaderValue(value); (err == nil) != ok {
			t.Errorf("%.20q: %v", value, err)
		}
		if err := scenario.CheckHeaderValue([]byte(value)); (err == nil) != ok {
			t.Errorf("%.20q in bytes: %v", value, err)
		}
	}
}
