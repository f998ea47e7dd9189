package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	sequential = pb.DatasetOrder_DATASET_ORDER_SEQUENTIAL
	shuffle    = pb.DatasetOrder_DATASET_ORDER_SHUFFLE
	random     = pb.DatasetOrder_DATASET_ORDER_RANDOM
)

// asked are the prompts of the first n arrivals.
func asked(t *testing.T, set *Set, n uint64) []string {
	t.Helper()
	var prompts []string
	for i := range n {
		prompts = append(prompts, strings.Join(promptWords(t, fill(t, set, 0, key(i)).Body), " "))
	}
	return prompts
}

func TestRowsOfOurOwnPromptsAreAskedInOrder(t *testing.T) {
	text, err := os.ReadFile("testdata/golden-prompts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(text)) {
		var row struct{ Prompt string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		want = append(want, row.Prompt)
	}
	set := compile(t, chat(golden(sequential)), memory{"rows.jsonl": string(text)})
	got := asked(t, set, uint64(2*len(want)))
	if !slices.Equal(got, append(want, want...)) {
		t.Errorf("asked %q, want %q twice", got, want)
	}
	if d := set.Datasets(); len(d) != 1 || d[0] != (DatasetInfo{Path: "rows.jsonl", Rows: 8}) {
		t.Errorf("Datasets = %+v", d)
	}
}

func TestFormsOfAFile(t *testing.T) {
	const a, b = `{"prompt":"a"}`, `{"prompt":"b"}`
	tests := map[string]struct {
		text  string
		empty uint64
	}{
		"lines":               {a + "\n" + b + "\n", 0},
		"no final newline":    {a + "\n" + b, 0},
		"CRLF":                {a + "\r\n" + b + "\r\n", 0},
		"CRLF, no final one":  {a + "\r\n" + b, 0},
		"byte order mark":     {"\ufeff" + a + "\n" + b, 0},
		"empty lines":         {"\n" + a + "\n\n  \t\r\n" + b + "\n\n", 4},
		"white space":         {"  " + a + "\t\n\t" + b + "  ", 0},
		"mark, empty line":    {"\ufeff\n" + a + "\n" + b, 1},
		"escaped key":         {`{"pro\u006dpt":"a"}` + "\n" + b, 0},
		"the last of a key":   {`{"prompt":1,"prompt":"a"}` + "\n" + b, 0},
		"other members first": {`{"x":{"prompt":"z","y":["]","}"]},"prompt":"a"}` + "\n" + b, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := compile(t, chat(golden(sequential)), memory{"rows.jsonl": tt.text})
			if got := asked(t, set, 3); !slices.Equal(got, []string{"a", "b", "a"}) {
				t.Errorf("asked %q", got)
			}
			if d := set.Datasets()[0]; d.Rows != 2 || d.Empty != tt.empty {
				t.Errorf("%+v, want 2 rows and %d empty lines", d, tt.empty)
			}
		})
	}
}

func TestWhatARowMayHold(t *testing.T) {
	tests := map[string]struct {
		row, chat, completion string
		tokens                uint64
	}{
		"prompt":          {`{"prompt":"a \"b\" \u00e9"}`, `[{"role":"user","content":"a \"b\" \u00e9"}]`, `"a \"b\" \u00e9"`, 5},
		"max_tokens":      {`{"prompt":"a","max_tokens":9}`, `[{"role":"user","content":"a"}]`, `"a"`, 9},
		"output_tokens":   {`{"prompt":"a","output_tokens":7}`, `[{"role":"user","content":"a"}]`, `"a"`, 7},
		"no limit's null": {`{"prompt":"a","max_tokens":null}`, `[{"role":"user","content":"a"}]`, `"a"`, 5},
		"messages": {
			`{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"t"}]}]}`,
			`[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"t"}]}]`, "", 5,
		},
		"both": {`{"prompt":"p","messages":[{"role":"user","content":"m"}]}`, `[{"role":"user","content":"m"}]`, `"p"`, 5},
		"tool calls": {
			`{"messages":[{"role":"assistant","content":null,"tool_calls":[{}]}]}`,
			`[{"role":"assistant","content":null,"tool_calls":[{}]}]`, "", 5,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := golden(sequential)
			w.GetDataset().SetOutputTokens(fixedLaw(5))
			files := memory{"rows.jsonl": tt.row}
			tail := fmt.Sprintf(`,"stream":true,"stream_options":{"include_usage":true},"max_tokens":%d}`, tt.tokens)
			r := fill(t, compile(t, chat(w), files), 0, key(0))
			if want := `{"model":"small","messages":` + tt.chat + tail; string(r.Body) != want || r.MaxTokens != tt.tokens {
				t.Errorf("chat: %d tokens\n%s\nwant\n%s", r.MaxTokens, r.Body, want)
			}
			if tt.completion == "" {
				return
			}
			r = fill(t, compile(t, with(pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS, w), files), 0, key(0))
			if want := `{"model":"small","prompt":` + tt.completion + tail; string(r.Body) != want {
				t.Errorf("completions:\n%s\nwant\n%s", r.Body, want)
			}
		})
	}
}

func TestBrokenRowsAreAllNamedBeforeTheLoad(t *testing.T) {
	text := `{"prompt":"fine"}
{"prompt":"secret text"
[1]

{"prompts":"x"}
{"prompt":3}
{"prompt":""}
{"prompt":"x","max_tokens":0}
{"prompt":"x","output_tokens":"many"}
{"messages":[]}
{"messages":"hello"}
{"messages":[{"role":"user"}]}
{"messages":[{"content":"x"}]}
{"messages":[1]}
` + "{\"prompt\":\"\xff\"}\nnull"
	want := `rows.jsonl:2: broken JSON at byte 23 of the line; each line must be one whole object
rows.jsonl:3: not a JSON object; each line must be an object such as {"prompt": "…"}
rows.jsonl:5: neither "prompt" nor "messages"
rows.jsonl:6: "prompt" must be a string that is not empty
rows.jsonl:7: "prompt" must be a string that is not empty
rows.jsonl:8: "max_tokens" must be a whole number from 1 to 10000000
rows.jsonl:9: "output_tokens" must be a whole number from 1 to 10000000
rows.jsonl:10: "messages" must not be empty
rows.jsonl:11: "messages" must be an array
rows.jsonl:12: "messages": number 1 needs "content", a string or an array of parts
rows.jsonl:13: "messages": number 1 needs a "role", a string
rows.jsonl:14: "messages": number 1 must be an object
rows.jsonl:15: the text is not UTF-8; convert the file
rows.jsonl:16: not a JSON object; each line must be an object such as {"prompt": "…"}`
	_, err := Compile(chat(golden(sequential)), memory{"rows.jsonl": text}.open, nil)
	if err == nil || err.Error() != want {
		t.Errorf("error:\n%v\nwant:\n%s", err, want)
	}
}

func TestManyBrokenRowsAreCounted(t *testing.T) {
	_, err := Compile(chat(golden(sequential)), memory{"rows.jsonl": strings.Repeat("{\n", 1000)}.open, nil)
	if err == nil || strings.Count(err.Error(), "\n") != MaxProblems || !strings.HasSuffix(err.Error(), "and 980 more problems") {
		t.Errorf("error:\n%v\nwant %d problems and the count of the others", err, MaxProblems)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	tests := map[string]struct {
		files Files
		want  string
	}{
		"missing": {memory{}.open, "workloads[0].dataset.file: rows.jsonl: no such file"},
		"empty":   {memory{"rows.jsonl": "\n\n"}.open, "rows.jsonl: holds no rows"},
		"too large": {func(string) (io.ReaderAt, int64, error) { return strings.NewReader(""), MaxFile + 1, nil },
			"rows.jsonl: has 68719476737 bytes; a data set may have at most 68719476736 (64 GiB)"},
		"unreadable": {func(string) (io.ReaderAt, int64, error) { return broken{}, 10, nil }, "rows.jsonl: the disk is gone"},
	}
	for name, tt := range tests {
		if _, err := Compile(chat(golden(sequential)), tt.files, nil); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

// broken is a file that cannot be read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("the disk is gone") }

func TestTheLongestLine(t *testing.T) {
	row := func(n int) string { return `{"prompt":"` + strings.Repeat("x", n-len(`{"prompt":""}`)) + `"}` }
	text := `{"prompt":"a"}` + "\n" + row(MaxLine) + "\r\n" + `{"prompt":"b"}`
	set := compile(t, chat(golden(sequential)), memory{"rows.jsonl": text})
	if body := fill(t, set, 0, key(1)).Body; len(body) < MaxLine {
		t.Errorf("the body has %d bytes, want the whole row", len(body))
	}
	if got := asked(t, set, 3)[2]; got != "b" {
		t.Errorf("the row after it asks %q", got)
	}
	text = `{"prompt":"a"}` + "\n" + row(MaxLine+1) + "\n" + row(3*MaxLine) + "\n{"
	_, err := Compile(chat(golden(sequential)), memory{"rows.jsonl": text}.open, nil)
	want := "rows.jsonl:2: the line is longer than 4194304 bytes (4 MiB)\nrows.jsonl:3: the line is longer than 4194304 bytes (4 MiB)\nrows.jsonl:4: broken JSON"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error: %v\nwant: %s", err, want)
	}
}

func TestShuffleAsksEveryRowOnceAPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 300).Draw(t, "rows")
		var text strings.Builder
		for i := range rows {
			fmt.Fprintf(&text, `{"prompt":"%d"}`+"\n\n", i)
		}
		s := chat(golden(shuffle))
		s.SetSeed(rapid.Uint64().Draw(t, "seed"))
		set, err := Compile(s, memory{"rows.jsonl": text.String()}.open, nil)
		if err != nil {
			t.Fatal(err)
		}
		pass := rapid.Uint64Range(0, 1<<40).Draw(t, "pass")
		seen := map[string]bool{}
		var r Request
		for i := range rows {
			if err := set.Fill(0, key(pass*uint64(rows)+uint64(i)), &r); err != nil {
				t.Fatal(err)
			}
			seen[promptWord(r.Body)] = true
		}
		if len(seen) != rows {
			t.Fatalf("%d of %d rows were asked in one pass", len(seen), rows)
		}
	})
}

func TestRandomAsksWithReplacement(t *testing.T) {
	var text strings.Builder
	for i := range 10 {
		fmt.Fprintf(&text, `{"prompt":"%d"}`+"\n", i)
	}
	counts := map[string]int{}
	set := compile(t, chat(golden(random)), memory{"rows.jsonl": text.String()})
	for _, prompt := range asked(t, set, 2000) {
		counts[prompt]++
	}
	for row, n := range counts {
		if len(counts) != 10 || n < 150 || n > 250 { // 200 ± 3.7 standard deviations
			t.Errorf("row %s was drawn %d times of 2000 among %d rows", row, n, len(counts))
		}
	}
}

// changing is a file whose text changes after it was read once.
type changing struct{ text *string }

func (c changing) ReadAt(p []byte, at int64) (int, error) {
	return strings.NewReader(*c.text).ReadAt(p, at)
}

func TestAFileThatChangesUnderTheLoadIsNoticed(t *testing.T) {
	text := `{"prompt":"a"}` + "\n" + `{"prompt":"b"}`
	size := int64(len(text))
	set, err := Compile(chat(golden(sequential)), func(string) (io.ReaderAt, int64, error) {
		return changing{&text}, size, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []string{"", `{"prompt":"a"}`, strings.Repeat("x", 40)} {
		text = now
		var r Request
		if err := set.Fill(0, key(1), &r); err == nil || !strings.Contains(err.Error(), "changed") {
			t.Errorf("with %q: %v, want an error that says the file has changed", now, err)
		}
	}
}

func TestRowsAreAskedFromMemoryOfFourBytesEach(t *testing.T) {
	d := &dataset{}
	for i := range int64(10_000) {
		if err := d.add(i * 100); err != nil {
			t.Fatal(err)
		}
	}
	if bytes := 8*len(d.base) + 4*len(d.delta); bytes > 42_000 {
		t.Errorf("the index of 10,000 rows holds %d bytes", bytes)
	}
	for _, row := range []uint64{0, 63, 64, 9_999} {
		if got := d.offset(row); got != int64(row)*100 {
			t.Errorf("row %d begins at %d", row, got)
		}
	}
	if err := d.add(1 << 40); err == nil {
		t.Error("a row behind 1 TiB of empty lines was taken")
	}
}

// What Compile lets through, Fill makes into JSON; and the walk agrees with encoding/json.
func FuzzRows(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"a"}`, `{"messages":[{"role":"user","content":"x"}],"max_tokens":3}`, "\ufeff{\"prompt\":\"\\u00e9\"}\r\n\r\n{",
		`{"prompt":"\ud800"}`, `{"a":[{"b":"]}\""}],"prompt" : "x" }`, `{"prompt":"x",}`, "{}\n[]\nnull\n1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Compile(chat(golden(shuffle)), memory{"rows.jsonl": text}.open, nil)
		if err != nil {
			return
		}
		var r Request
		for n := range set.Datasets()[0].Rows {
			if err := set.Fill(0, key(n), &r); err != nil {
				t.Fatal(err)
			}
			if !json.Valid(r.Body) || !utf8.Valid(r.Body) {
				t.Fatalf("body is not JSON: %q", r.Body)
			}
		}
	})
}

func FuzzMembers(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":{"c":[1,"]"]}}`, `{"a\u0041":""}`, `{"a":"\\"}`, `{"`, `{"a":"\`, `{"a":tru}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := members([]byte(text), nil)
		var want map[string]json.RawMessage
		if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &want) != nil || want == nil {
			return // anything but a crash is fine on what is not JSON
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for key, value := range want {
			if got := find(fields, key); string(got) != string(value) {
				t.Fatalf("%q: member %q = %q, want %q", text, key, got, value)
			}
		}
	})
}

func BenchmarkFillDataset(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, `{"id":%d,"prompt":"%s"}`+"\n", i, strings.Repeat("word ", 100))
	}
	set := compile(b, chat(golden(shuffle)), memory{"rows.jsonl": text.String()})
	var r Request
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		if err := set.Fill(0, key(n), &r); err != nil {
			b.Fatal(err)
		}
	}
}
