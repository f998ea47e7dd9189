package workload

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func plain(w *pb.Workload) *pb.Scenario { return with(pb.Protocol_PROTOCOL_HTTP, w) }

func jsonType() map[string]*pb.HeaderValue {
	return map[string]*pb.HeaderValue{"Content-Type": value("application/json; charset=utf-8")}
}

// rowsOf is a data set over rows.jsonl for an http workload.
func rowsOf() *pb.Dataset { return pb.Dataset_builder{File: new("rows.jsonl")}.Build() }

// Inside quotes a value is escaped text, bare in JSON it is a JSON value, elsewhere it is text as it is.
func TestPlaceholdersAreWrittenAsTheirPlaceWants(t *testing.T) {
	const row = `{"q":"a \"b\"\n\\é/ ?&","n":1.50,"o":{"x":["y"]},"t":true}` // JSON escapes: quote, line end, backslash
	open := measure.ID{Number: 17}
	slot := measure.ID{Slot: 3, Epoch: 1, Number: 7}
	tests := []struct {
		name, contentType, body string
		id                      measure.ID
		want                    string
	}{
		{"arrival in JSON", "application/json", `{"n": {{arrival}}, "s": "{{arrival}}"}`, open, `{"n": 17, "s": "17"}`},
		{"slot in JSON", "application/json", `{"n": {{arrival}}, "s": "{{arrival}}"}`, slot, `{"n": "3.1.7", "s": "3.1.7"}`},
		{"slot in text", "text/plain", `n={{arrival}}`, slot, `n=3.1.7`},
		{"turn and seed", "", `{{turn}}/{{ seed }}`, open, `2/42`},
		{"string inside quotes", "application/json", `{"q":"<{{row.q}}>"}`, open, `{"q":"<a \"b\"\n\\é/ ?&>"}`},
		{"string bare", "application/json", `{"q":{{row.q}}}`, open, `{"q":"a \"b\"\n\\é/ ?&"}`},
		{"number, object, truth bare", "application/ld+json", `[{{row.n}},{{row.o}},{{row.t}}]`, open, `[1.50,{"x":["y"]},true]`},
		{"number, object inside quotes", "application/json", `["{{row.n}} {{row.o}}"]`, open, `["1.50 {\"x\":[\"y\"]}"]`},
		{"string in text", "text/plain", `<{{row.q}}>`, open, "<a \"b\"\n\\é/ ?&>"},
		{"object in text", "text/plain", `{{row.o}}`, open, `{"x":["y"]}`},
		{"no type, JSON by its looks", "", ` {"q":"{{row.q}}"}`, open, ` {"q":"a \"b\"\n\\é/ ?&"}`},
		{"no type, text by its looks", "", `q={{row.q}}`, open, "q=a \"b\"\n\\é/ ?&"},
		{"a type that is not JSON", "text/plain", `{"q":"{{row.n}}{{row.q}}"}`, open, "{\"q\":\"1.50a \"b\"\n\\é/ ?&\"}"},
		{"escaped quote before", "application/json", `{"k\"":"\\","q":"\"{{row.n}}\""}`, open, `{"k\"":"\\","q":"\"1.50\""}`},
		{"random of one value", "application/json", `{{random -5 -5}}`, open, `-5`},
		{"braces that are none", "application/json", `{"a":{"b":{{turn}}}}`, open, `{"a":{"b":2}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := pb.HttpRequest_builder{Method: new("POST"), Body: &tt.body, Dataset: rowsOf()}
			if tt.contentType != "" {
				r.Headers = map[string]*pb.HeaderValue{"content-type": value(tt.contentType)}
			}
			k := Key{Phase: "hold", ID: tt.id, Turn: 2}
			got := fill(t, compile(t, plain(echo(r)), memory{"rows.jsonl": row}), 0, k)
			if string(got.Body) != tt.want {
				t.Errorf("body %s\nwant %s", got.Body, tt.want)
			}
		})
	}
}

func TestAPlainRequest(t *testing.T) {
	w := echo(pb.HttpRequest_builder{
		Path: new("/ïtems/%41/{{row.id}}?q={{row.q}}&n={{arrival}}"), Dataset: rowsOf(), ExpectStatus: []uint32{200, 404},
		Headers: map[string]*pb.HeaderValue{"X-Query": value("q {{row.q}}"), "x-both": value("http"), "X-Seed": value("{{seed}}")},
	})
	w.SetHeaders(map[string]*pb.HeaderValue{"X-Both": value("workload"), "User-Agent": value("mine")})
	w.SetChecks([]*pb.Check{pb.Check_builder{Contains: new("ok")}.Build()})
	s := plain(w)
	s.GetTargets()[0].SetHeaders(map[string]*pb.HeaderValue{"X-Both": value("target"), "X-Curly": value("{{arrival}}")})
	r := fill(t, compile(t, s, memory{"rows.jsonl": `{"id":"../a b","q":"x&y=ü"}`}), 0, key(5))
	want := []Header{
		{"User-Agent", "mine"},
		{"x-both", "http"}, {"X-Curly", "{{arrival}}"}, // a target's headers hold no placeholders
		{"X-Query", "q x&y=ü"}, {"X-Seed", "42"},
		{"X-Loadline-Run", "run-1"}, {"X-Loadline-Arrival", "hold/5/0"},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	const path = "/%C3%AFtems/%41/..%2Fa%20b?q=x%26y%3D%C3%BC&n=5"
	if r.Method != "GET" || r.Path != path || len(r.Body) != 0 || r.Stream || r.MaxTokens != 0 {
		t.Errorf("%s %s, body %q, stream %v", r.Method, r.Path, r.Body, r.Stream)
	}
	if !slices.Equal(r.Rules.Expect, []uint32{200, 404}) || len(r.Rules.Checks) != 1 || r.Rules.NeedContent {
		t.Errorf("rules = %+v", r.Rules)
	}
	if r = fill(t, compile(t, plain(echo(pb.HttpRequest_builder{})), nil), 0, key(5)); r.Path != "/" || r.Method != "GET" {
		t.Errorf("%s %s, want GET /", r.Method, r.Path)
	}
}

func TestABodyFromAFileIsSentAsItIs(t *testing.T) {
	r := pb.HttpRequest_builder{Method: new("PUT"), BodyFile: new("body.bin")}
	body := "\x00{{arrival}}\xff"
	if got := fill(t, compile(t, plain(echo(r)), memory{"body.bin": body}), 0, key(1)); string(got.Body) != body || got.Method != "PUT" {
		t.Errorf("%s %q", got.Method, got.Body)
	}
	large := func(string) (io.ReaderAt, int64, error) { return strings.NewReader(""), MaxBodyFile + 1, nil }
	short := func(string) (io.ReaderAt, int64, error) { return strings.NewReader("abc"), 4, nil }
	for want, files := range map[string]Files{
		"workloads[0].http.body_file: body.bin: no such file":                                                  memory{}.open,
		"workloads[0].http.body_file: body.bin: has 16777217 bytes; a body may have at most 16777216 (16 MiB)": large,
		"workloads[0].http.body_file: body.bin: the file has changed since it was checked":                     short,
	} {
		if _, err := Compile(plain(echo(r)), files, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestUUIDsAndRandomNumbersFollowFromTheArrival(t *testing.T) {
	body := `{{uuid}} {{uuid}} {{random 1 6}} {{random -9223372036854775808 9223372036854775807}}`
	w := echo(pb.HttpRequest_builder{Body: &body, Headers: map[string]*pb.HeaderValue{"X-Id": value("{{uuid}}")}})
	set := compile(t, plain(w), nil)
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	sides := map[string]int{}
	for n := range uint64(600) {
		r := fill(t, set, 0, key(n))
		words := strings.Fields(string(r.Body))
		for _, id := range []string{words[0], words[1], headerOf(r, "X-Id")} {
			if seen[id] || !form.MatchString(id) {
				t.Fatalf("uuid %q of arrival %d: seen before, or not one", id, n)
			}
			seen[id] = true
		}
		sides[words[2]]++
		if again := fill(t, set, 0, key(n)); string(again.Body) != string(r.Body) {
			t.Fatalf("arrival %d: %s, then %s", n, r.Body, again.Body)
		}
	}
	for side, n := range sides {
		if len(sides) != 6 || n < 65 || n > 135 { // 100 ± 3.8 standard deviations
			t.Errorf("%d came up %q times among %d sides", n, side, len(sides))
		}
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	w := echo(pb.HttpRequest_builder{
		Path: new("/a b"), Body: new("{{x}}"), Dataset: rowsOf(),
		Headers: map[string]*pb.HeaderValue{
			"bad name": value("x"), "Host": value("virtual.example"), "Content-Length": value("1"), "X-Loadline-Run": value("x"),
			"X-Twice": value("x"), "x-twice": value("y"), "X-Line": value("a\r\nb: c"), "X-Row": value("{{row.name}}"),
			"X-Env": pb.HeaderValue_builder{Env: new("MISSING")}.Build(), "Accept-Encoding": value("gzip"),
		},
	})
	s := plain(w)
	s.SetWorkloads(append(s.GetWorkloads(), questions(), golden(sequential)))
	s.GetWorkloads()[2].SetTarget("nowhere")
	s.GetTargets()[0].SetAuth(pb.Auth_builder{Bearer: pb.SecretRef_builder{Env: new("MISSING")}.Build()}.Build())
	_, err := Compile(s, memory{"rows.jsonl": "{}\n" + `{"name":"a\nb"}` + "\n" + `{"name":"ok"}`}.open, vault{}.secret)
	want := []string{
		`targets[0].auth.bearer: environment variable MISSING is not set`,
		`workloads[0].http.headers.Accept-Encoding: compressed answers are not in this version`,
		`workloads[0].http.headers.Content-Length: Content-Length is set by the HTTP client itself`,
		`workloads[0].http.headers.X-Env: environment variable MISSING is not set`,
		`workloads[0].http.headers.X-Line: holds a control character, such as a line end, which a header cannot carry`,
		`workloads[0].http.headers.X-Loadline-Run: headers that begin with X-Loadline- are loadline's own (choose another name)`,
		`workloads[0].http.headers.bad name: "bad name" is not the name of a header`,
		`workloads[0].http.headers.x-twice: is "X-Twice" again: the names of headers have no case (keep one of the two)`,
		`workloads[0].http.path: at byte 2: holds a space, a control character or # (percent-encode it, a space as %20)`,
		`workloads[0].http.body: at byte 0: unknown placeholder "{{x}}" (there are {{arrival}}, {{turn}}, {{seed}}, {{row.FIELD}}, {{uuid}} and {{random A B}})`,
		`targets[0].auth.bearer: environment variable MISSING is not set`,
		`workloads[1]: a target of protocol http needs http`,
		`workloads[2].target: there is no target "nowhere"`,
		`rows.jsonl:1: no "name", which {{row.name}} asks for`,
		`rows.jsonl:2: "name", which a header asks for: holds a control character, such as a line end, which a header cannot carry`,
	}
	got := strings.Split(fmt.Sprint(err), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("problem %d: %s\nwant %s", i, got[i], want[i])
		}
	}
}

func TestCredentials(t *testing.T) {
	env := pb.SecretRef_builder{Env: new("KEY")}.Build()
	tests := map[string]struct {
		auth *pb.Auth
		want Header
	}{
		"bearer": {pb.Auth_builder{Bearer: env}.Build(), Header{"Authorization", "Bearer sk-1"}},
		"basic": {
			pb.Auth_builder{Basic: pb.BasicAuth_builder{User: new("ann"), Password: env}.Build()}.Build(),
			Header{"Authorization", "Basic YW5uOnNrLTE="},
		},
		"header": {
			pb.Auth_builder{Header: pb.HeaderAuth_builder{Name: new("x-api-key"), Value: env}.Build()}.Build(),
			Header{"x-api-key", "sk-1"},
		},
	}
	for name, tt := range tests {
		s := chat(questions())
		s.GetTargets()[0].SetAuth(tt.auth)
		if r := fill(t, compile(t, s, nil), 0, key(0)); headerOf(r, tt.want.Name) != tt.want.Value {
			t.Errorf("%s: headers = %v, want %v", name, r.Header, tt.want)
		}
	}
}

func TestASecretThatWouldBreakAHeaderIsRefusedAndNotTold(t *testing.T) {
	s := chat(questions())
	s.GetTargets()[0].SetAuth(pb.Auth_builder{Bearer: pb.SecretRef_builder{Env: new("KEY")}.Build()}.Build())
	asked := 0
	s.GetTargets()[0].SetHeaders(map[string]*pb.HeaderValue{"X-Key": pb.HeaderValue_builder{Env: new("KEY")}.Build()})
	_, err := Compile(s, nil, func(*pb.SecretRef) (string, error) { asked++; return "sk-canary\r\nX-Evil: 1", nil })
	if err == nil || !strings.Contains(err.Error(), "env KEY holds a control character") || strings.Contains(err.Error(), "canary") {
		t.Errorf("error = %v, want one that names KEY and not its value", err)
	}
	if asked != 1 {
		t.Errorf("the secret was looked up %d times, want once", asked)
	}
}

func TestARowCannotBreakOutOfAHeader(t *testing.T) {
	text := `{"v":"fine"}`
	w := echo(pb.HttpRequest_builder{Dataset: rowsOf(), Headers: map[string]*pb.HeaderValue{"X-V": value("{{row.v}}")}})
	size := int64(64)
	text += strings.Repeat(" ", int(size)-len(text))
	set, err := Compile(plain(w), func(string) (io.ReaderAt, int64, error) { return changing{&text}, size, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	text = `{"v":"a\r\nX-Evil: 1"}`
	text += strings.Repeat(" ", int(size)-len(text))
	var r Request
	if err := set.Fill(0, key(0), &r); err == nil || !strings.Contains(err.Error(), "header X-V: holds a control character") {
		t.Errorf("Fill = %v, want the header refused", err)
	}
}

func TestFillRefusesAWorkloadThatIsNot(t *testing.T) {
	set := compile(t, chat(questions()), nil)
	for _, w := range []int{-1, 1} {
		if err := set.Fill(w, key(0), &Request{}); err == nil {
			t.Errorf("Fill(%d) = nil", w)
		}
	}
}

// What the parser takes, it writes out as JSON wherever the text around the placeholders is.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{
		`{"a":{{arrival}},"b":"{{row.q}}"}`, `{{row.n}}`, `["{{uuid}}",{{uuid}},{{random 1 9}},"{{random 1 9}}"]`, `"\"{{row.o}}"`, `{{`, `{{row.q}}{{`,
	} {
		f.Add(seed)
	}
	const row = `{"q":"a \"b\"\n\\","n":1.5,"o":{"x":["\"y\""]}}`
	f.Fuzz(func(t *testing.T, body string) {
		r := pb.HttpRequest_builder{Body: &body, Headers: jsonType(), Dataset: rowsOf()}
		set, err := Compile(plain(echo(r)), memory{"rows.jsonl": row}.open, nil)
		if err != nil {
			return
		}
		var got Request
		if err := set.Fill(0, Key{ID: measure.ID{Slot: 1, Epoch: 1}}, &got); err != nil {
			t.Fatal(err)
		}
		// The text with a harmless value in each place is JSON: so must the real one be.
		sample := regexp.MustCompile(`\{\{[^}]*\}\}`).ReplaceAllString(body, "1")
		if utf8.ValidString(body) && json.Valid([]byte(sample)) && !strings.Contains(sample, "}}1") && !json.Valid(got.Body) && !numberGlued(body) {
			t.Fatalf("%q gives %q, which is not JSON", body, got.Body)
		}
	})
}

// numberGlued tells whether a placeholder stands right beside a character of a bare number or another
// placeholder: then the sample is JSON by accident.
func numberGlued(body string) bool {
	return regexp.MustCompile(`[-+.0-9eE}\\]\{\{|\}\}[-+.0-9eE]`).MatchString(body)
}

func FuzzPathEncoding(f *testing.F) {
	f.Add("a/b ?&=%é")
	f.Fuzz(func(t *testing.T, text string) {
		got := encodePath([]byte("/x/"+text), len("/x/"))
		back, err := url.PathUnescape(string(got[len("/x/"):]))
		if err != nil || back != text || strings.ContainsAny(string(got[3:]), "/?#&= \r\n") {
			t.Fatalf("%q is encoded as %q, which reads as %q (%v)", text, got, back, err)
		}
	})
}
