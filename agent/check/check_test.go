package check

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const doc = `{"a":{"b":[1,{"c":"x","d e":true,"":null}]},"n":-1.5,"l":[1,[2]],"o":{"k":"v"},"z":null}`

func TestPaths(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"$.a.b[0]": "1", "$.a.b[1].c": `"x"`, `$.a.b[1]["d e"]`: "true", `$['a'].b[1]['']`: "null", "$.n": "-1.5",
		"$.l[1][0]": "2", "$.z": "null", `$["o"]["\k"]`: `"v"`, "$.l": "[1,[2]]",
		"$.a.b[2]": "", "$.x": "", "$.a.b.c": "", "$.n.x": "", "$[0]": "", "$.z.x": "",
	} {
		p, err := scenario.ParseJSONPath(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got, ok := follow(p, v)
		b, _ := json.Marshal(got)
		if ok != (want != "") || ok && string(b) != want {
			t.Errorf("%s: %s, %v; want %s", path, b, ok, want)
		}
	}
}

func TestEquals(t *testing.T) {
	for _, c := range []struct {
		path string
		v    any
		want bool
	}{
		{"$.n", -1.5, true}, {"$.n", "-1.5", false}, {"$.z", nil, true}, {"$.n", nil, false}, {"$.l", []any{1.0, []any{2.0}}, true},
		{"$.l", []any{1.0}, false}, {"$.l", []any{1.0, []any{3.0}}, false}, {"$.o", map[string]any{"k": "v"}, true},
		{"$.o", map[string]any{}, false}, {"$.o", map[string]any{"j": "v"}, false}, {"$.a.b[1].c", "x", true}, {"$.a.b[1].c", true, false},
	} {
		want, err := structpb.NewValue(c.v)
		if err != nil {
			t.Fatal(err)
		}
		f := Run([]*pb.Check{pb.Check_builder{JsonPath: pb.JsonPathCheck_builder{Path: &c.path, Equals: want}.Build()}.Build()}, []byte(doc), 0)
		if (f == nil) != c.want {
			t.Errorf("%s equals %v: %+v", c.path, c.v, f)
		}
		if f != nil && (f.Class != "check_json_path" || strings.Contains(f.Text, "-1.5")) {
			t.Errorf("%+v quotes the answer or has another class", f)
		}
	}
}

func TestFirstFailureStands(t *testing.T) {
	text, body := "x", uint64(5)
	checks := []*pb.Check{
		pb.Check_builder{MaxBody: &body}.Build(),
		pb.Check_builder{Contains: &text}.Build(),
		pb.Check_builder{NotContains: &text}.Build(),
	}
	for _, c := range []struct {
		text  string
		body  uint64
		class string
	}{{"x", 6, "check_max_body"}, {"y", 5, "check_contains"}, {"x", 5, "check_not_contains"}} {
		if f := Run(checks, []byte(c.text), c.body); f == nil || f.Class != c.class {
			t.Errorf("%q: %+v, want %s", c.text, f, c.class)
		}
	}
	if !NeedText(checks) || NeedText(checks[:1]) || MaxBody(checks) != 5 || MaxBody(checks[1:]) != 0 {
		t.Error("what the checks need is wrong")
	}
	if f := Run([]*pb.Check{{}}, nil, 0); f == nil {
		t.Error("a check without a rule passes")
	}
	if f := Run(nil, nil, 0); f != nil {
		t.Errorf("no checks: %+v", f)
	}
}

// FuzzPath: a path that the parser accepts can be followed.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"$", "$.a.b[0]", `$["a\"b"]['c']`, "$[", "$.a]", "$[\"\\"} {
		f.Add(s)
	}
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := scenario.ParseJSONPath(s)
		if err != nil {
			return
		}
		follow(p, v)
	})
}
