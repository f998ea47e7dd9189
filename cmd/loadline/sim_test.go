package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/sim"
)

func TestSimServesUntilASignal(t *testing.T) {
	a := newTestApp(t, nil, map[string]string{"KEY": "k", "LOADLINE_SIM_MODEL": "m1", "LOADLINE_MODEL": "other"})
	r, w := io.Pipe()
	a.stdout = w
	done := make(chan int, 1)
	go func() {
		done <- a.run(context.Background(), []string{"sim", "--address", "127.0.0.1:0", "--api-key-env", "KEY", "--fault", "reset:p=0"})
		w.Close()
	}()
	out := bufio.NewReader(r)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`http://\S+/v1`).FindString(line)
	rest := make(chan string, 1)
	go func() { b, _ := io.ReadAll(out); rest <- string(b) }()

	request, err := http.NewRequest(http.MethodGet, address+"/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer k")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"m1"`) {
		t.Errorf("models: %d %s %v", response.StatusCode, body, err)
	}
	a.interr <- os.Interrupt
	if got := <-done; got != 0 {
		t.Errorf("exit status %d: %s", got, a.err)
	}
	text := <-rest
	for _, want := range []string{"requests/s", "knee", "fault reset", "loadline run --url " + address + " --model m1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q was not printed:\n%s", want, text)
		}
	}
}

func TestSimLaw(t *testing.T) {
	tests := []struct {
		name string
		o    simOptions
		want sim.Law
		bad  string
	}{
		{"default", simOptions{}, sim.LawBatching, ""},
		{"times alone", simOptions{ttft: "50ms"}, sim.LawFixed, ""},
		{"fixed by name", simOptions{law: "fixed"}, sim.LawFixed, ""},
		{"parameters", simOptions{batching: "batch=3"}, sim.LawBatching, ""},
		{"unknown", simOptions{law: "wild"}, "", "fixed or batching"},
		{"fixed with parameters", simOptions{law: "fixed", batching: "batch=3"}, "", "--batching"},
		{"batching with times", simOptions{law: "batching", itl: "5ms"}, "", "--itl"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.o.chooseLaw()
			if tt.bad != "" {
				if err == nil || !strings.Contains(err.Error(), tt.bad) {
					t.Errorf("error %v, want one with %q", err, tt.bad)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
