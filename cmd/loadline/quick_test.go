package main

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
)

// Whatever stands in a flag stays the value of its field: no text of it becomes structure.
func TestQuickDocumentHoldsWhatWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom(nil, unicode.L, unicode.P, unicode.S, unicode.Zs), 1, 60, -1)
		q := quickOptions{
			url: "http://127.0.0.1:8000/v1", rate: "5", model: text.Draw(t, "model"),
			headers: []string{"x-note: v" + text.Draw(t, "header") + "."},
		}
		data, err := q.document(nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(scenario.Source{Name: "quick", Data: data})
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		target := s.GetTargets()[0]
		if got := target.GetModel(); got != q.model {
			t.Errorf("model %q became %q:\n%s", q.model, got, data)
		}
		_, want, _ := strings.Cut(q.headers[0], ": ")
		if got := target.GetHeaders()["x-note"].GetValue(); got != want {
			t.Errorf("header %q became %q:\n%s", want, got, data)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"json", "rate", "arrivals", "output-tokens"}
	tests := []struct{ in, want string }{
		{"jsn", "json"}, {"rates", "rate"}, {"arival", "arrivals"}, {"out-tokens", "output-tokens"}, {"zzz", ""}, {"", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.in, names); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestFlagOf(t *testing.T) {
	tests := []struct{ path, want string }{
		{"targets[0].url", "--url"}, {"targets[0].headers[\"x y\"]", "--header"}, {"targets[0].model", "--model"},
		{"workloads[0].http.path", "--url"}, {"workloads[0].synthetic.output_tokens.fixed", "--output-tokens"},
		{"load[0].open.rate", "--rate"}, {"load[0].open.arrivals", "--arrivals"}, {"load[0].duration", "--duration"},
		{"load[0].closed.users", "--users"}, {"slo[3]", "--slo"}, {"slower", ""}, {"name", ""},
	}
	for _, tt := range tests {
		if got := flagOf(tt.path); got != tt.want {
			t.Errorf("flagOf(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}
