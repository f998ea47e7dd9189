package null

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// served starts the server on a loopback port for the time of a test.
func served(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func get(t *testing.T, method, url, body string) string {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %v", a.StatusCode, err)
	}
	return string(text)
}

func TestAnswers(t *testing.T) {
	at := "http://" + served(t)
	tests := map[string]struct {
		method, path, body string
		events             int
	}{
		"nothing":               {"GET", "/", "", 0},
		"a long request":        {"POST", "/x", strings.Repeat("a", 30_000), 0},
		"a stream at once":      {"POST", "/stream/3/0/chat/completions", "{}", 3},
		"a stream over time":    {"POST", "/stream/4/2/chat/completions", "{}", 4},
		"one event":             {"POST", "/stream/1/50/chat/completions", "{}", 1},
		"not a stream: none":    {"GET", "/stream/0/5", "", 0},
		"not a stream: too far": {"GET", "/stream/100001/5", "", 0},
		"not a stream: a word":  {"GET", "/stream/many/5", "", 0},
		"not a stream: no gap":  {"GET", "/stream/3", "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := get(t, test.method, at+test.path, test.body)
			if test.events == 0 {
				if got != "ok" {
					t.Errorf("the answer is %q", got)
				}
				return
			}
			if n := strings.Count(got, `"content"`); n != test.events || !strings.HasSuffix(got, "data: [DONE]\n\n") || !strings.Contains(got, "finish_reason") {
				t.Errorf("%d events: %q", n, got)
			}
		})
	}
}

// Requests may come in any pieces, and several at once.
func TestRequestsInPieces(t *testing.T) {
	conn, err := net.Dial("tcp", served(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	one := "POST /a HTTP/1.1\r\nHost: x\r\ncontent-length:  5\r\n\r\nhello"
	answers := bufio.NewReader(conn)
	for _, pieces := range [][]string{{one}, {one[:7], one[7:40], one[40:]}, {one + one + one[:3], one[3:]}} {
		n := strings.Count(strings.Join(pieces, ""), "POST")
		for _, p := range pieces {
			if _, err := io.WriteString(conn, p); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			a, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(a.Body); err != nil || string(text) != "ok" {
				t.Fatalf("%q, %v", text, err)
			}
		}
	}
}

// What is too large or makes no sense ends the connection.
func TestRefuses(t *testing.T) {
	at := served(t)
	for _, text := range []string{
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", MaxRequest),
		fmt.Sprintf("POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", 1<<40, strings.Repeat("a", MaxRequest)),
		"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n" + strings.Repeat("a", MaxRequest),
	} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text) // it may be cut off in the middle
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes came for %.30q", n, text)
		}
		conn.Close()
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("POST /stream/3/4 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		length, path := request(data)
		if length > len(data) || length < 0 || len(path) > length {
			t.Fatalf("length %d of %d, path %q", length, len(data), path)
		}
		if events, gap, ok := asked(path); ok && (events < 1 || events > MaxEvents || gap < 0 || gap > MaxGap) {
			t.Fatalf("%q asks for %d events, %v apart", path, events, gap)
		}
	})
}
