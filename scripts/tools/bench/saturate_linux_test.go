package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRequestLen(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        int
	}{
		{"without a body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27},
		{"with a body", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 40},
		{"in lower case, not the first such header", "POST / HTTP/1.1\r\ncontent-type: a\r\ncontent-length: 2\r\nx: y\r\n\r\n{}", 63},
		{"with the next one behind it", "GET / HTTP/1.1\r\n\r\nGET", 18},
		{"half a header", "GET / HTTP/1.1\r\nHost: a\r\n", 0},
		{"half a body", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{", 0},
		{"a length in the body", "GET / HTTP/1.1\r\n\r\nContent-Length: 9", 18},
		{"a length beyond all bounds", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}", 0},
	} {
		if got := requestLen([]byte(c.bytes)); got != c.want {
			t.Errorf("%s: %d, not %d", c.name, got, c.want)
		}
	}
}

// A client of the standard library gets whole answers, and the server counts what it sent.
func TestSaturator(t *testing.T) {
	for _, c := range []struct {
		name         string
		events, each int
	}{{"unary", 0, 0}, {"one a write", 50, 1}, {"twenty a write", 50, 20}, {"more than a socket holds", 60000, 20}} {
		t.Run(c.name, func(t *testing.T) {
			g, err := listen()
			if err != nil {
				t.Fatal(err)
			}
			s := newSaturator(g, c.events, c.each, new(counts))
			ctx, stop := context.WithCancel(t.Context())
			var server, clients sync.WaitGroup
			server.Go(func() { spin(ctx, time.Minute, s, g, s.counts) })
			for range 4 {
				clients.Go(func() { askTwice(t, "http://"+g.address+"/v1/chat/completions", c.events) })
			}
			clients.Wait()
			stop()
			server.Wait()
			if s.counts.Requests != 8 || s.counts.Events != uint64(8*c.events) {
				t.Errorf("the server counted %+v", *s.counts)
			}
			if b := s.counts.busy(); s.counts.span() <= 0 || b <= 0 || b > 1 {
				t.Errorf("busy %v in %v", b, s.counts.span())
			}
		})
	}
}

func askTwice(t *testing.T, url string, events int) {
	client := http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for range 2 {
		resp, err := client.Post(url, "application/json", strings.NewReader(requestBody))
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Error(err)
		}
		want := `{"ok":true}`
		if events > 0 {
			want = strings.Repeat(tokenEvent, events) + lastEvents
		}
		if string(body) != want {
			t.Errorf("got %d bytes, not the %d of %d events", len(body), len(want), events)
		}
	}
}
