package openai

import (
	"encoding/json"
	"strings"
	"testing"
)

var (
	chatShape = shape{"delta", true}
	textShape = shape{"delta", false}
)

// look reads a chunk as the driver does, and says whether the scanner was sure.
func look(t testing.TB, in string, sh shape, want bool) (chunk, string, bool) {
	t.Helper()
	var fast, slow chunk
	text, sure := scan([]byte(in), sh, &fast, nil, want)
	slowText, _, err := decode([]byte(in), sh, &slow, nil, want)
	if !sure {
		return slow, string(slowText), false
	}
	if err != nil {
		t.Fatalf("scan is sure of %q, which encoding/json refuses: %v", in, err)
	}
	if fast != slow || string(text) != string(slowText) {
		t.Fatalf("%q\nscan   %+v %q\ndecode %+v %q", in, fast, text, slow, slowText)
	}
	return fast, string(text), true
}

func TestChunks(t *testing.T) {
	ok := func(n uint64) count { return count{n, true} }
	for _, c := range []struct {
		name, in string
		shape    shape
		want     chunk
		text     string
		sure     bool
	}{
		{"vLLM content", `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" Hi"},"logprobs":null,"finish_reason":null}]}`, chatShape, chunk{answer: true}, " Hi", true},
		{"blanks everywhere", "{ \"choices\" : [ { \"delta\" : { \"content\" : \"Hi\" } , \"index\" : 0 } ] }\n", chatShape, chunk{answer: true}, "Hi", true},
		{"role only", `{"choices":[{"index":0,"delta":{"role":"assistant"}}]}`, chatShape, chunk{}, "", true},
		{"role and empty content", `{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, chatShape, chunk{}, "", true},
		{"null content", `{"choices":[{"index":0,"delta":{"content":null,"refusal":null,"tool_calls":null}}]}`, chatShape, chunk{}, "", true},
		{"a space is content", `{"choices":[{"index":0,"delta":{"content":" "}}]}`, chatShape, chunk{answer: true}, " ", true},
		{"a line end is content", `{"choices":[{"index":0,"delta":{"content":"\n"}}]}`, chatShape, chunk{answer: true}, "\n", false},
		{"half a character", `{"choices":[{"index":0,"delta":{"content":"�"}}]}`, chatShape, chunk{answer: true}, "\ufffd", true},
		{"empty delta", `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, chatShape, chunk{finish: true}, "", true},
		{"finish with the last text", `{"choices":[{"index":0,"delta":{"content":"."},"finish_reason":"stop","stop_reason":null}]}`, chatShape, chunk{answer: true, finish: true}, ".", true},
		{"reasoning", `{"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}`, chatShape, chunk{reasoning: true}, "", true},
		{"reasoning_content", `{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"hm"}}]}`, chatShape, chunk{reasoning: true}, "", true},
		{"both names of reasoning", `{"choices":[{"index":0,"delta":{"reasoning":"hm","reasoning_content":"hm"}}]}`, chatShape, chunk{reasoning: true}, "", true},
		{"reasoning and content", `{"choices":[{"index":0,"delta":{"reasoning":"hm","content":"so"}}]}`, chatShape, chunk{reasoning: true, answer: true}, "so", true},
		{"tool call begins", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}]}`, chatShape, chunk{call: true}, "", true},
		{"tool arguments", `{"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"{a"}}]}}]}`, chatShape, chunk{answer: true}, "{a", true},
		{"function_call", `{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"x"}}}]}`, chatShape, chunk{answer: true, call: true}, "x", true},
		{"refusal", `{"choices":[{"index":0,"delta":{"refusal":"No"}}]}`, chatShape, chunk{answer: true}, "No", true},
		{"usage trailer", `{"id":"","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":2}}}`, chatShape, chunk{in: ok(7), out: ok(3)}, "", true},
		{"null usage", `{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}`, chatShape, chunk{answer: true}, "a", true},
		{"usage of null counts", `{"choices":[],"usage":{"prompt_tokens":null,"completion_tokens":0}}`, chatShape, chunk{out: ok(0)}, "", true},
		{"padding", `{"choices":[{"index":0,"delta":{"content":"a"}}],"obfuscation":"xyzzy"}`, chatShape, chunk{answer: true}, "a", true},
		{"second choice", `{"choices":[{"index":1,"delta":{"content":"b"}}]}`, chatShape, chunk{answer: true}, "", true},
		{"both choices", `{"choices":[{"delta":{"content":"b"},"index":1},{"delta":{"content":"a"},"index":0}]}`, chatShape, chunk{answer: true}, "a", true},
		{"completions", `{"choices":[{"text":"b","index":17,"finish_reason":null}]}`, textShape, chunk{answer: true}, "b", true},
		{"parts", `{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"}]}}]}`, chatShape, chunk{answer: true, reasoning: true}, "a", false},
		{"error object", `{"error":{"message":"out of memory","code":500}}`, chatShape, chunk{failed: true}, "", false},
		{"null error", `{"error":null,"choices":[{"index":0,"delta":{"content":"a"}}]}`, chatShape, chunk{answer: true}, "a", true},
		{"false error", `{"error":false,"choices":[{"index":0,"delta":{"content":"a"}}]}`, chatShape, chunk{answer: true}, "a", false},
		{"empty error", `{"error":{},"choices":[]}`, chatShape, chunk{}, "", false},
		{"flat error", `{"object":"error","message":"m","code":404}`, chatShape, chunk{failed: true}, "", false},
		{"escaped name", `{"choices":[{"index":0,"delta":{"c\u006fntent":"a"}}]}`, chatShape, chunk{answer: true}, "a", false},
		{"a name twice", `{"choices":[],"choices":[{"delta":{"content":"a"}}]}`, chatShape, chunk{answer: true}, "a", false},
		{"escapes", `{"choices":[{"index":0,"delta":{"content":"\"\u00e9\\"}}]}`, chatShape, chunk{answer: true}, `"é\`, false},
		{"content and arguments", `{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"B"}}],"content":"A"}}]}`, chatShape, chunk{answer: true}, "AB", false},
		{"names in upper case are others", `{"Choices":[{"delta":{"content":"a"}}]}`, chatShape, chunk{}, "", true},
		{"deep nesting", `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"choices":[]}`, chatShape, chunk{}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, text, sure := look(t, c.in, c.shape, true)
			if got != c.want || text != c.text {
				t.Errorf("got %+v %q, want %+v %q", got, text, c.want, c.text)
			}
			if sure != c.sure {
				t.Errorf("sure %v, want %v", sure, c.sure)
			}
			if got, _, _ := look(t, c.in, c.shape, false); got != c.want {
				t.Errorf("without text: got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestNotChunks(t *testing.T) {
	for _, in := range []string{
		"", "{", "[]", "null", `"x"`, "[DONE]", ": OPENROUTER PROCESSING", `{"choices":[}`, `{"a":1}{"b":2}`, `{"a":01}`, `{"a":1.}`,
		`{"a":+1}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\x01\"}", `{"a":tru}`, `{"a" 1}`, `{"a":1,}`, `{,}`, `{"a":[1,]}`, `{"a":1e}`, `{'a':1}`,
	} {
		var c chunk
		if _, sure := scan([]byte(in), chatShape, &c, nil, true); sure {
			t.Errorf("scan is sure of %q", in)
		}
		if _, _, err := decode([]byte(in), chatShape, &c, nil, true); err == nil {
			t.Errorf("decode accepts %q", in)
		}
	}
}

// FuzzScan: where the scanner is sure, encoding/json agrees on every point.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"id":"x","choices":[{"index":0,"delta":{"content":" Hi"},"logprobs":null,"finish_reason":null}],"usage":null}`,
		`{"choices":[{"delta":{"reasoning":"a","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}`,
		`{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}`, `{"error":{"message":"m"}}`, `{"object":"error"}`,
		`{"choices":[{"text":"a","index":3,"finish_reason":"stop"}]}`, `{"a":[1,-2.5e+3,true,false,null,{"b":"é\n"}]}`,
		"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}", `{"choices":[{"message":{"content":"a"}}]}`, `{"a":"\ud800"}`,
	} {
		f.Add(s, true, true)
		f.Add(s, false, false)
	}
	f.Fuzz(func(t *testing.T, in string, chat, want bool) {
		sh := textShape
		if chat {
			sh = chatShape
		}
		if _, _, sure := look(t, in, sh, want); sure && !json.Valid([]byte(in)) {
			t.Fatalf("scan is sure of %q, which is not JSON", in)
		}
	})
}

const common = `{"id":"chatcmpl-8f0c8a5e1a3b4f7d9","object":"chat.completion.chunk","created":1763890000,"model":"llama-3.1-8b","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null,"token_ids":null}]}`

func TestScanDoesNotAllocate(t *testing.T) {
	in := []byte(common)
	var c chunk
	text := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() {
		c = chunk{}
		if _, sure := scan(in, chatShape, &c, text[:0], true); !sure || !c.answer {
			t.Fatal("not the common shape")
		}
	}); n != 0 {
		t.Errorf("%v allocations a chunk", n)
	}
}

func BenchmarkScan(b *testing.B) {
	in := []byte(common)
	var c chunk
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		scan(in, chatShape, &c, nil, false)
	}
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(common)
	var c chunk
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decode(in, chatShape, &c, nil, false); err != nil {
			b.Fatal(err)
		}
	}
}
