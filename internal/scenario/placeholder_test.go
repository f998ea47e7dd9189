package scenario_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/scenario"
)

func TestPlaceholders(t *testing.T) {
	type list = []scenario.Placeholder
	for text, want := range map[string]list{
		"":                       nil,
		"} {a}} {":               nil,
		"{{arrival}}":            {{Start: 0, End: 11, Kind: scenario.PlaceholderArrival}},
		"é{{ turn }}{{seed}}":    {{Start: 2, End: 12, Kind: scenario.PlaceholderTurn}, {Start: 12, End: 20, Kind: scenario.PlaceholderSeed}},
		`{"a":{"b":{{uuid}}}}`:   {{Start: 10, End: 18, Kind: scenario.PlaceholderUUID}},
		"{{row.a b}} {{row.}x}}": {{Start: 0, End: 11, Kind: scenario.PlaceholderField, Field: "a b"}, {Start: 12, End: 22, Kind: scenario.PlaceholderField, Field: "}x"}},
		"{{random -9223372036854775808\t 9223372036854775807}}": {{End: 52, Kind: scenario.PlaceholderRandom, Low: math.MinInt64, High: math.MaxInt64}},
	} {
		if got, err := scenario.ParsePlaceholders(text, true); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	if got, err := scenario.ParsePlaceholders(strings.Repeat("{{turn}}", scenario.MaxPlaceholders), false); err != nil || len(got) != scenario.MaxPlaceholders {
		t.Errorf("%d placeholders, %v", len(got), err)
	}
}

func TestPlaceholdersThatAreWrong(t *testing.T) {
	const known = "there are {{arrival}}, {{turn}}, {{seed}}, {{row.FIELD}}, {{uuid}} and {{random A B}}"
	for text, want := range map[string]scenario.ExprError{
		"ab {{arival}}":                     {3, `unknown placeholder "{{arival}}"`, "did you mean {{arrival}}? " + known},
		"{{}}":                              {0, `unknown placeholder "{{}}"`, known},
		"{{row.}}":                          {0, "{{row.FIELD}} needs the name of a field", "as in {{row.question}}"},
		"{{arrival":                         {0, "the placeholder is not closed", "end it with }}"},
		"{{row.x}}":                         {0, "{{row.x}} needs a data set", "add dataset: {file: …} beside the path"},
		"{{random}}":                        {0, "{{random A B}} needs two whole numbers", "as in {{random 1 100}}"},
		"{{random 2 1}}":                    {0, "{{random A B}} needs A to be at most B", ""},
		"{{random 1 1.5}}":                  {0, "{{random A B}} needs two whole numbers", "as in {{random 1 100}}"},
		strings.Repeat("{{turn}} ", 10_001): {90_000, "more than 10000 placeholders", "put a body of that size into a body_file"},
		strings.Repeat("{{turn}}", 10_001):  {80_000, "more than 10000 placeholders", "put a body of that size into a body_file"},
	} {
		_, err := scenario.ParsePlaceholders(text, false)
		var e *scenario.ExprError
		if !errors.As(err, &e) || *e != want {
			t.Errorf("%.40s: %v\nwant %v", text, err, &want)
		}
	}
}

func TestRequestPaths(t *testing.T) {
	for path, pos := range map[string]int{
		"/": -1, "/ïtems/%41/{{ row.id }}?q={{row.a#b}}": -1, "/" + strings.Repeat("é", 10_922): -1,
		"/a b": 2, "/{{turn}} ": 9, "/a\x7f": 2, "/{{turn}}#x": 9, "/\n{{turn}}": 1, "/{{turn": 1, "/" + strings.Repeat("é", 10_923): 0,
	} {
		_, err := scenario.ParseRequestPath(path, true)
		var e *scenario.ExprError
		if err == nil != (pos < 0) || err != nil && (!errors.As(err, &e) || e.Pos != pos) {
			t.Errorf("%.40q: %v, want an error at %d", path, err, pos)
		}
	}
}

// FuzzPlaceholders: the placeholders found are whole, in order and apart, none is passed over, and a
// mistake has its place in the text.
func FuzzPlaceholders(f *testing.F) {
	for _, s := range []string{"{{arrival}} {{row.q}}", "{{random 1 9}}{{", "{{{turn}}}", "{{ uuid", "}}{{seed}}"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, rows bool) {
		found, err := scenario.ParsePlaceholders(text, rows)
		var e *scenario.ExprError
		if err != nil {
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos >= len(text) || !strings.HasPrefix(text[e.Pos:], "{{") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		from := 0
		for _, p := range found {
			whole := text[p.Start:p.End]
			if p.Start < from || strings.Contains(text[from:p.Start], "{{") || !strings.HasPrefix(whole, "{{") || strings.Index(whole, "}}") != len(whole)-2 || p.Kind == 0 ||
				p.Low > p.High || (p.Kind == scenario.PlaceholderField) != (p.Field != "") {
				t.Fatalf("%q: %+v", text, p)
			}
			from = p.End
		}
		if strings.Contains(text[from:], "{{") {
			t.Fatalf("%q: a placeholder was passed over after byte %d", text, from)
		}
	})
}
