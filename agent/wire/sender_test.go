package wire

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"

	"pgregory.net/rapid"
)

// TestASenderWritesWhatANewOneWrites: what is left from the requests before never shows.
func TestASenderWritesWhatANewOneWrites(t *testing.T) {
	client := newClient(t, Config{URL: "http://target.test/v1"})
	headers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Header {
		return Header{
			rapid.SampledFrom([]string{"Host", "User-Agent", "Connection", "X-A", "X-B", "bad name", "Content-Length"}).Draw(t, "name"),
			rapid.SampledFrom([]string{"a", "b", "close", "longer value", "bad\nvalue"}).Draw(t, "value"),
		}
	}), 0, 4)
	request := rapid.Custom(func(t *rapid.T) *Request {
		return &Request{
			Method: rapid.SampledFrom([]string{"GET", "POST", "B AD"}).Draw(t, "method"),
			Path:   rapid.SampledFrom([]string{"/a", "/b?c=d"}).Draw(t, "path"),
			Header: headers.Draw(t, "header"),
			Body:   rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "body"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var old sender
		for _, req := range rapid.SliceOfN(request, 1, 8).Draw(t, "requests") {
			var fresh sender
			err, want := old.prepare(client, req), fresh.prepare(client, req)
			if (err == nil) != (want == nil) || (err == nil) != (checkRequest(req) == nil) {
				t.Fatalf("%+v: %v, from a new one %v", req, err, want)
			}
			if err == nil && (!bytes.Equal(old.out, fresh.out) || old.close != fresh.close) {
				t.Fatalf("%q, from a new one %q", old.out, fresh.out)
			}
			if err != nil {
				continue
			}
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(old.out)))
			if err != nil || r.ContentLength != int64(len(req.Body)) || r.Method != req.Method {
				t.Fatalf("%q: %v", old.out, err)
			}
		}
	})
}

func BenchmarkPrepare(b *testing.B) {
	client := newClient(b, Config{URL: "http://target.test/v1"})
	req := &Request{Method: "POST", Path: "/chat/completions", Body: []byte("{}"), Header: []Header{
		{"Content-Type", "application/json"}, {"Authorization", "Bearer 0123456789"}, {"X-Loadline-Run", "r1"}, {"X-Loadline-Arrival", "a"},
	}}
	var s sender
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		req.Header[3].Value = []string{"hold/1/0", "hold/2/0"}[i&1]
		if err := s.prepare(client, req); err != nil {
			b.Fatal(err)
		}
	}
}
