package scenario_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// What Marshal writes, Parse reads back to the same digest; and the message is one that Check takes.
func TestMarshalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomScenario(t)
		if ps := scenario.Check(s); len(ps) > 0 {
			t.Fatalf("the scenario drawn is not valid:\n%v", ps)
		}
		scenario.Normalize(s)
		text := scenario.Marshal(s)
		back, err := scenario.Parse(scenario.Source{Data: text})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if scenario.Digest(s, nil) != scenario.Digest(back, nil) {
			t.Fatalf("the digests differ:\n%s\n%v\n%v", text, s, back)
		}
		if again := scenario.Marshal(back); string(again) != string(text) {
			t.Fatalf("written again it differs:\n%s\n%s", text, again)
		}
	})
}

// The same document as JSON has the same digest.
func TestDigestOfJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomScenario(t)
		scenario.Normalize(s)
		var tree any
		if err := yaml.Load(scenario.Marshal(s), &tree); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(tree)
		if err != nil {
			t.Skip(err) // a free value with a number JSON does not have
		}
		back, err := scenario.Parse(scenario.Source{Data: text})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if scenario.Digest(s, nil) != scenario.Digest(back, nil) {
			t.Fatalf("the digests differ:\n%s", text)
		}
	})
}

const spelled = `
name: a
targets: [{url: "http://127.0.0.1", protocol: http, headers: {x-b: two, x-a: one}}]
workloads: [{http: {path: /p, body: "😀"}}]
load: [{open: {rate: 1000}, duration: 90s}]
slo: [error_rate < 0.1%]
`

// One meaning, many spellings, one digest.
func TestDigestIgnoresSpelling(t *testing.T) {
	want := digest(t, spelled)
	same := map[string]string{
		"comments and order": "# c\nload:\n  - duration: 1m30s # c\n    open:\n      rate: 1k\nslo:\n  - \"error_rate  <  0.001\"\nworkloads:\n  - http:\n      body: \"\\U0001F600\"\n      path: /p\ntargets:\n  - protocol: http\n    url: 'http://127.0.0.1'\n    headers: {x-a: one, x-b: two}\nname: a\n",
		"defaults written":   spelled + "seed: 1\ndrain: 30s\ntag_requests: true\nprecise: false\ncapture: {records: 200, wire: false}\n",
		"JSON":               `{"name":"a","targets":[{"url":"http:\/\/127.0.0.1","protocol":"http","headers":{"x-a":"one","x-b":"two"}}],"workloads":[{"http":{"path":"/p","body":"\ud83d\ude00"}}],"load":[{"open":{"rate":1e3},"duration":"90s"}],"slo":["error_rate<0.1%"]}`,
		"anchors":            strings.Replace(spelled, "one}}]", "&x one}}]", 1) + "drain: 30s\n",
	}
	for name, text := range same {
		if got := digest(t, text); got != want {
			t.Errorf("%s: another digest", name)
		}
	}
	for name, text := range map[string]string{
		"seed": spelled + "seed: 2\n", "header": strings.Replace(spelled, "one", "eins", 1), "bound": strings.Replace(spelled, "0.1%", "0.2%", 1),
		"false": spelled + "tag_requests: false\n",
	} {
		if digest(t, text) == want {
			t.Errorf("%s: the same digest", name)
		}
	}
}

func digest(t *testing.T, text string) [32]byte {
	t.Helper()
	s, err := scenario.Parse(scenario.Source{Data: []byte(text)})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return scenario.Digest(s, nil)
}

// Files count by path and content, in any order; one that is named twice counts once.
func TestDigestOfFiles(t *testing.T) {
	s := &pb.Scenario{}
	file := func(path string, sum byte) *pb.FileDigest {
		return pb.FileDigest_builder{Path: path, Sha256: []byte{sum}}.Build()
	}
	a, b := file("a", 1), file("b", 2)
	want := scenario.Digest(s, []*pb.FileDigest{a, b})
	if scenario.Digest(s, []*pb.FileDigest{b, a, b}) != want {
		t.Error("the order of files matters")
	}
	for _, other := range [][]*pb.FileDigest{nil, {a}, {a, file("b", 3)}, {file("ab", 1), b}} {
		if scenario.Digest(s, other) == want {
			t.Errorf("%v has the same digest", other)
		}
	}
}

// Minus zero is zero, and numbers are told apart to the last bit.
func TestDigestOfNumbers(t *testing.T) {
	at := func(f float64) [32]byte {
		return scenario.Digest(pb.Scenario_builder{Capture: pb.Capture_builder{Bodies: &f}.Build()}.Build(), nil)
	}
	if at(0) != at(math.Copysign(0, -1)) {
		t.Error("−0 and 0 differ")
	}
	if at(0.1) == at(math.Nextafter(0.1, 1)) {
		t.Error("neighbours have one digest")
	}
}

// The digest of a fixed scenario never changes by accident: journals hold it.
func TestDigestIsStable(t *testing.T) {
	const want = "172b5a2baba5700ef54e38eb45145d5e58436818c958377efd4303049af942b6"
	if got := digest(t, spelled); hexOf(got) != want {
		t.Errorf("digest is %s, want %s; a change needs a new digestVersion", hexOf(got), want)
	}
}
