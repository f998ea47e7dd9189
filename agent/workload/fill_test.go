package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// mixed is a scenario with every kind of draw, and the file it needs.
func mixed() (*pb.Scenario, memory) {
	var rows strings.Builder
	for i := range 37 {
		fmt.Fprintf(&rows, `{"prompt":"question %d"}`+"\n", i)
	}
	s := chat(questions(), golden(pb.DatasetOrder_DATASET_ORDER_SHUFFLE), golden(pb.DatasetOrder_DATASET_ORDER_RANDOM))
	s.GetWorkloads()[0].SetHeaders(map[string]*pb.HeaderValue{"X-Id": value("{{uuid}} {{random 1 1000}}")})
	s.SetCapture(pb.Capture_builder{Bodies: new(0.3)}.Build())
	return s, memory{"rows.jsonl": rows.String()}
}

func sent(r *Request) string {
	return fmt.Sprintf("%s %s %v %v %v %d\n%s", r.Method, r.Path, r.Header, r.Stream, r.KeepBody, r.MaxTokens, r.Body)
}

// Whoever makes the request of an arrival, in whatever order, makes the same bytes.
func TestARequestFollowsFromTheArrivalAlone(t *testing.T) {
	s, files := mixed()
	reference := compile(t, s, files)
	rapid.Check(t, func(t *rapid.T) {
		agents := rapid.IntRange(1, 5).Draw(t, "agents")
		sets := make([]*Set, agents)
		requests := make([]Request, agents)
		for i := range sets {
			sets[i], _ = Compile(s, files.open, nil)
		}
		numbers := rapid.SliceOfNDistinct(rapid.Uint64Range(0, 1<<40), 1, 30, rapid.ID).Draw(t, "numbers")
		for _, n := range numbers {
			agent := rapid.IntRange(0, agents-1).Draw(t, "agent")
			w := rapid.IntRange(0, 2).Draw(t, "workload")
			k := key(n)
			k.Turn = rapid.Uint32Range(0, 3).Draw(t, "turn")
			if err := sets[agent].Fill(w, k, &requests[agent]); err != nil {
				t.Fatal(err)
			}
			var fresh Request
			if err := reference.Fill(w, k, &fresh); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sent(&fresh), sent(&requests[agent])); diff != "" {
				t.Fatalf("agent %d made another request for %d (-reference +agent):\n%s", agent, n, diff)
			}
		}
	})
}

func TestAnotherSeedAsksOtherThings(t *testing.T) {
	s, files := mixed()
	one := compile(t, s, files)
	s.SetSeed(43)
	two := compile(t, s, files)
	for w := range s.GetWorkloads() {
		same := 0
		for n := range uint64(50) {
			if bytes.Equal(fill(t, one, w, key(n)).Body, fill(t, two, w, key(n)).Body) {
				same++
			}
		}
		if same > 6 { // of 37 rows two draws agree once in 37
			t.Errorf("workload %d: %d of 50 requests are the same under another seed", w, same)
		}
	}
}

// The golden bytes hold on every processor.
func TestSyntheticRequestsAreTheSameOnEveryProcessor(t *testing.T) {
	w := questions()
	w.GetSynthetic().SetInputTokens(fixedLaw(14))
	r := fill(t, compile(t, chat(w), nil), 0, key(17))
	const want = `{"model":"small","messages":[{"role":"user","content":"` + goldenPrompt + `"}],` +
		`"stream":true,"stream_options":{"include_usage":true},"max_tokens":` + goldenTokens + `}`
	if got := string(r.Body); got != want {
		t.Errorf("body:\n%s\nwant:\n%s", got, want)
	}
	if fmt.Sprint(r.MaxTokens) != goldenTokens {
		t.Errorf("MaxTokens = %d, want %s", r.MaxTokens, goldenTokens)
	}
	want2 := []Header{
		{"User-Agent", "loadline"}, {"Content-Type", "application/json"},
		{"X-Loadline-Run", "run-1"}, {"X-Loadline-Arrival", "hold/17/0"},
	}
	if diff := cmp.Diff(want2, r.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if r.Method != "POST" || r.Path != "/chat/completions" || !r.Stream || r.KeepBody || !r.Rules.NeedContent {
		t.Errorf("request = %+v", r)
	}
}

func TestPromptsShareTheirGroupsBeginningAndNothingElse(t *testing.T) {
	set := compile(t, chat(questions()), nil)
	groups := map[string]int{}
	rest := map[string]bool{}
	const arrivals = 600
	for n := range uint64(arrivals) {
		words := promptWords(t, fill(t, set, 0, key(n)).Body)
		if len(words) < 12 {
			continue
		}
		groups[strings.Join(words[:8], " ")]++
		rest[strings.Join(words[8:12], " ")] = true
	}
	total := 0
	for _, n := range groups {
		total += n
		if n < arrivals/5 {
			t.Errorf("a group has %d of %d prompts, want about a third", n, arrivals)
		}
	}
	if len(groups) != 3 || len(rest) < total-1 {
		t.Errorf("%d groups, %d different beginnings after it of %d prompts", len(groups), len(rest), total)
	}
}

// promptWords are the words of a chat's one message.
func promptWords(t *testing.T, body []byte) []string {
	t.Helper()
	var chat struct {
		Messages []struct{ Role, Content string }
	}
	if err := json.Unmarshal(body, &chat); err != nil || len(chat.Messages) != 1 || chat.Messages[0].Role != "user" {
		t.Fatalf("%v: %s", err, body)
	}
	return strings.Split(chat.Messages[0].Content, " ")
}

func TestAPromptHasAsManyWordsAsTokensWereDrawn(t *testing.T) {
	for _, tokens := range []float64{1, 2, 7, 8, 9, 64, 1000} {
		w := questions()
		w.GetSynthetic().SetInputTokens(fixedLaw(tokens))
		words := promptWords(t, fill(t, compile(t, chat(w), nil), 0, key(3)).Body)
		if len(words) != int(tokens) || slices.Contains(words, "") {
			t.Errorf("%v tokens: %d words %q", tokens, len(words), words)
		}
	}
}

func TestPromptsDifferBetweenPhasesTurnsAndWorkloads(t *testing.T) {
	other := questions()
	other.SetName("other")
	set := compile(t, chat(questions(), other), nil)
	base := key(1)
	phase, turn, arrival := base, base, base
	phase.Phase, turn.Turn, arrival.Ordinal = "climb", 1, 2
	seen := map[string]string{}
	for name, body := range map[string][]byte{
		"base": fill(t, set, 0, base).Body, "phase": fill(t, set, 0, phase).Body, "turn": fill(t, set, 0, turn).Body,
		"arrival": fill(t, set, 0, arrival).Body, "workload": fill(t, set, 1, base).Body,
	} {
		if twin, ok := seen[string(body)]; ok {
			t.Errorf("%s and %s ask the same", name, twin)
		}
		seen[string(body)] = name
	}
}

func TestTheScenariosBodyIsMergedAndWins(t *testing.T) {
	tests := []struct {
		name     string
		body     map[string]any
		stream   *bool
		want     string
		streamed bool
		tokens   uint64
	}{
		{"nothing", nil, nil, `{"model":"small","messages":M,"stream":true,"stream_options":{"include_usage":true},"max_tokens":5}`, true, 5},
		{"no stream", nil, new(false), `{"model":"small","messages":M,"stream":false,"max_tokens":5}`, false, 5},
		{
			"more members", map[string]any{"temperature": 0, "seed": 1.5, "ignore_eos": true, "stop": []any{"\n", nil}, "x": map[string]any{"b": 1, "a": `"`}}, nil,
			`{"model":"small","messages":M,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"seed":1.5,"stop":["\n",null],"temperature":0,"x":{"a":"\"","b":1},"max_tokens":5}`, true, 5,
		},
		{
			"ours overridden", map[string]any{"model": "big", "max_tokens": 9, "stream": false}, nil,
			`{"model":"big","messages":M,"stream":false,"max_tokens":9}`, false, 9,
		},
		{
			"stream options merged", map[string]any{"stream_options": map[string]any{"continuous_usage_stats": true}}, nil,
			`{"model":"small","messages":M,"stream":true,"stream_options":{"continuous_usage_stats":true,"include_usage":true},"max_tokens":5}`, true, 5,
		},
		{
			"stream options overridden", map[string]any{"stream_options": map[string]any{"include_usage": false}}, nil,
			`{"model":"small","messages":M,"stream":true,"stream_options":{"include_usage":false},"max_tokens":5}`, true, 5,
		},
		{
			"stream options taken away", map[string]any{"stream_options": nil}, nil,
			`{"model":"small","messages":M,"stream":true,"stream_options":null,"max_tokens":5}`, true, 5,
		},
		{
			"messages of one's own", map[string]any{"messages": []any{}}, nil,
			`{"model":"small","messages":[],"stream":true,"stream_options":{"include_usage":true}}`, true, 0,
		},
		{
			"placeholders are left alone", map[string]any{"chat_template": "{{ messages }}"}, nil,
			`{"model":"small","messages":M,"stream":true,"stream_options":{"include_usage":true},"chat_template":"{{ messages }}","max_tokens":5}`, true, 5,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := questions()
			w.SetSynthetic(pb.Synthetic_builder{InputTokens: fixedLaw(1), OutputTokens: fixedLaw(5)}.Build())
			if tt.stream != nil {
				w.SetStream(*tt.stream)
			}
			if tt.body != nil {
				body, err := structpb.NewStruct(tt.body)
				if err != nil {
					t.Fatal(err)
				}
				w.SetBody(body)
			}
			r := fill(t, compile(t, chat(w), nil), 0, key(0))
			word := promptWord(r.Body)
			want := strings.Replace(tt.want, "M", `[{"role":"user","content":"`+word+`"}]`, 1)
			if got := string(r.Body); got != want || r.Stream != tt.streamed || r.MaxTokens != tt.tokens {
				t.Errorf("stream %v, tokens %d, body\n%s\nwant %v, %d\n%s", r.Stream, r.MaxTokens, got, tt.streamed, tt.tokens, want)
			}
			if !json.Valid(r.Body) {
				t.Errorf("not JSON: %s", r.Body)
			}
		})
	}
}

// promptWord is what stands between the quotes after content.
func promptWord(body []byte) string {
	_, after, _ := strings.Cut(string(body), `"content":"`)
	word, _, _ := strings.Cut(after, `"`)
	return word
}

func TestCompletionsAskWithAPrompt(t *testing.T) {
	w := questions()
	w.GetSynthetic().SetInputTokens(fixedLaw(3))
	s := with(pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS, w)
	s.GetTargets()[0].SetTokenLimitField("max_completion_tokens")
	r := fill(t, compile(t, s, nil), 0, key(0))
	var body map[string]any
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Path != "/completions" {
		t.Fatalf("%s: %v", r.Path, err)
	}
	if text, _ := body["prompt"].(string); len(strings.Fields(text)) != 3 || body["max_completion_tokens"] != float64(r.MaxTokens) {
		t.Errorf("body = %s", r.Body)
	}
}

func TestBodiesAreKeptByShare(t *testing.T) {
	s, files := mixed()
	set := compile(t, s, files)
	kept := 0
	for n := range uint64(2000) {
		if fill(t, set, 0, key(n)).KeepBody {
			kept++
		}
	}
	if kept < 530 || kept > 670 { // 600 ± 3.4 standard deviations
		t.Errorf("kept %d of 2000, want about 30 %%", kept)
	}
}

func TestTagsNameTheArrival(t *testing.T) {
	set := compile(t, chat(questions()), nil)
	k := Key{RunID: "r", Phase: "users", ID: measure.ID{Slot: 3, Epoch: 1, Number: 7}, Turn: 2, Ordinal: 5}
	r := fill(t, set, 0, k)
	if got := headerOf(r, "X-Loadline-Arrival"); got != "users/3.1.7/2" {
		t.Errorf("X-Loadline-Arrival = %q", got)
	}
	s := chat(questions())
	s.SetTagRequests(false)
	r = fill(t, compile(t, s, nil), 0, k)
	if headerOf(r, "X-Loadline-Arrival") != "" || headerOf(r, "X-Loadline-Run") != "" {
		t.Errorf("headers = %v, want no tags", r.Header)
	}
}

func TestSyntheticFillAllocatesNothingButTheTag(t *testing.T) {
	for _, tag := range []bool{false, true} {
		s := chat(questions())
		s.SetTagRequests(tag)
		set := compile(t, s, nil)
		var r Request
		n := uint64(0)
		one := func() {
			n++
			if err := set.Fill(0, key(n%500), &r); err != nil {
				t.Fatal(err)
			}
		}
		for range 500 {
			one() // buffers grow
		}
		want := 0.0
		if tag {
			want = 1 // the string that the tag is
		}
		if got := testing.AllocsPerRun(500, one); got != want {
			t.Errorf("tag_requests %v: %v allocations a request, want %v", tag, got, want)
		}
	}
}

func BenchmarkFillSynthetic(b *testing.B) {
	set := compile(b, chat(questions()), nil)
	var r Request
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		if err := set.Fill(0, key(n), &r); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(r.Body)))
	}
}
