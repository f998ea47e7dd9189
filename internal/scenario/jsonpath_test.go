package scenario_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/scenario"
)

func TestJSONPaths(t *testing.T) {
	member := func(name string) scenario.JSONStep { return scenario.JSONStep{Member: name, Index: -1} }
	index := func(n int) scenario.JSONStep { return scenario.JSONStep{Index: n} }
	for path, want := range map[string]scenario.JSONPath{
		"$":                               nil,
		"$.a":                             {member("a")},
		"$[0]":                            {index(0)},
		"$[1048576].é-1":                  {index(1048576), member("é-1")},
		`$['a'].b[1]['']`:                 {member("a"), member("b"), index(1), member("")},
		`$["d e"]["\"]"]["\\"]`:           {member("d e"), member(`"]`), member(`\`)},
		"$" + strings.Repeat("[007]", 64): slices.Repeat(scenario.JSONPath{index(7)}, 64),
		`$.choices[0].message["content"]`: {member("choices"), index(0), member("message"), member("content")},
	} {
		if got, err := scenario.ParseJSONPath(path); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", path, got, err, want)
		}
	}
}

func TestBadJSONPaths(t *testing.T) {
	for path, pos := range map[string]int{
		"": 0, "a": 0, ".a": 0, "$a": 1, "$.": 2, "$..a": 2, "$.a[": 4, "$.a[x]": 4, "$.a[-1]": 4, "$[1": 3, "$[99999999]": 10, `$["a`: 4,
		`$["a"`: 5, `$["a"x`: 5, "$.a b": 3, "$.*": 2, "$.a]": 3, "$" + strings.Repeat(".a", 65): 129,
		"$[1048577]": 9, "$[99999999999999999999]": 22, "$[]": 2, `$["a\`: 5,
	} {
		_, err := scenario.ParseJSONPath(path)
		var e *scenario.ExprError
		if !errors.As(err, &e) || e.Pos != pos || e.Message == "" || e.Hint == "" {
			t.Errorf("%q: %v, want an error at %d", path, err, pos)
		}
	}
}

// FuzzJSONPath: no path makes the parser panic, a mistake has its place, and what it accepts reads the
// same when each step is written anew in brackets.
func FuzzJSONPath(f *testing.F) {
	for _, s := range []string{"$", "$.a.b[0]", `$["a\"b"]['c']`, "$[", "$.a]", "$[\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, err := scenario.ParseJSONPath(s)
		var e *scenario.ExprError
		if err != nil {
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(s) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		var b strings.Builder
		b.WriteByte('$')
		for _, step := range path {
			if step.Index >= 0 {
				b.WriteString("[" + strconv.Itoa(step.Index) + "]")
				continue
			}
			b.WriteString(`["` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(step.Member) + `"]`)
		}
		if again, err := scenario.ParseJSONPath(b.String()); err != nil || !slices.Equal(again, path) {
			t.Fatalf("%q reads as %v, written anew %q as %v (%v)", s, path, b.String(), again, err)
		}
	})
}
