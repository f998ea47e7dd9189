package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs.\ngot:\n%s\nwant:\n%s", name, got, want)
	}
}

// quick is a simulator that does everything at once.
func quick(faults ...string) Config {
	cfg := Default()
	cfg.Fixed = FixedLaw{}
	cfg.Seed = 1
	for _, text := range faults {
		f, err := ParseFault(text)
		if err != nil {
			panic(err)
		}
		cfg.Faults = append(cfg.Faults, f)
	}
	return cfg
}

// running is a simulator that serves on a loopback port until the test ends.
type running struct {
	*Server

	t      *testing.T
	url    string
	client *http.Client
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &running{Server: s, t: t, url: "http://" + ln.Addr().String(), client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// do sends a request, with headers as name, value, name, value.
func (r *running) do(method, path, body string, header ...string) (*http.Response, error) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.client.Do(req)
}

// answer is what a client saw.
type answer struct {
	status  int
	header  http.Header
	body    string
	err     error // of reading the body
	content int   // content events
	bad     int   // data lines that are not JSON
	done    bool
	failed  bool // an error object came
	finish  string
	usage   *usageSeen
}

type usageSeen struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
}

func (r *running) ask(method, path, body string, header ...string) answer {
	r.t.Helper()
	resp, err := r.do(method, path, body, header...)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(data), err: err}
	a.read()
	return a
}

// read takes a stream apart, as a simple client would.
func (a *answer) read() {
	lines := bufio.NewScanner(strings.NewReader(a.body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			a.done = true
			continue
		}
		var chunk struct {
			Error   any
			Usage   *usageSeen
			Choices []struct {
				Text   string
				Delta  struct{ Content string }
				Finish string `json:"finish_reason"`
			}
		}
		if json.Unmarshal([]byte(data), &chunk) != nil {
			a.bad++
			continue
		}
		a.failed = a.failed || chunk.Error != nil
		if chunk.Usage != nil {
			a.usage = chunk.Usage
		}
		for _, c := range chunk.Choices {
			if c.Text+c.Delta.Content != "" {
				a.content++
			}
			if c.Finish != "" {
				a.finish = c.Finish
			}
		}
	}
}

// expect holds the truth of two chat requests and one echo against their outcome.
func (r *running) expect(outcome, fault string) {
	r.t.Helper()
	truth := r.settled()
	kind, _, _ := strings.Cut(fault, ":")
	if outcome == "" { // no request was read
		if truth.Routes["chat"].Begun != 0 || truth.Faults[kind] < 3 {
			r.t.Errorf("truth: %+v %v", truth.Routes, truth.Faults)
		}
		return
	}
	for name, want := range map[string]uint64{"chat": 2, "echo": 1} {
		got := truth.Routes[name]
		counts := map[string]uint64{"completed": got.Completed, "refused": got.Refused, "broken": got.Broken, "canceled": got.Canceled}
		if got.Begun != want || counts[outcome] != want {
			r.t.Errorf("truth of %s: %+v, want all %s", name, got, outcome)
		}
	}
	if injected := truth.Faults[kind]; injected != 3 && !strings.Contains(fault, "p=0") && !strings.Contains(fault, "from=") {
		r.t.Errorf("%d faults counted", injected)
	}
}

// settled is the truth once no request is in progress: an answer can be with the client before
// its handler has ended.
func (r *running) settled() Truth {
	r.t.Helper()
	for range 2000 {
		if truth := r.Truth(); truth.InFlight == 0 {
			return truth
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatal("a request does not end")
	return Truth{}
}
