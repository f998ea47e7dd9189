package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// decode reads a chunk with the full decoder: everything that scan is not sure of. It returns the
// decoded object too, for what an error says.
func decode(b []byte, sh shape, c *chunk, text []byte, want bool) ([]byte, map[string]any, error) {
	*c = chunk{}
	top, err := decodeObject(b)
	if err != nil {
		return text, nil, err
	}
	d := decoder{shape: sh, c: c, text: text, want: want}
	for _, v := range list(top["choices"]) {
		d.choice(object(v))
	}
	usage := object(top["usage"])
	c.in, c.out = whole(usage["prompt_tokens"]), whole(usage["completion_tokens"])
	c.failed = truthy(top["error"]) || top["object"] == "error"
	return d.text, top, nil
}

// decodeObject decodes one JSON object and nothing after it.
func decodeObject(b []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON value")
	}
	top, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the JSON value is not an object")
	}
	return top, nil
}

type decoder struct {
	shape shape
	c     *chunk
	text  []byte
	want  bool
}

func (d *decoder) choice(choice map[string]any) {
	begin := len(d.text)
	// The order of members is lost here; it only orders the text of a choice that has several kinds.
	m := object(choice[d.shape.part])
	d.content(m["content"])
	d.content(m["refusal"])
	d.reasoning(m["reasoning"])
	d.reasoning(m["reasoning_content"])
	for _, v := range list(m["tool_calls"]) {
		d.function(object(object(v)["function"]))
	}
	d.function(object(m["function_call"]))
	d.content(choice["text"])
	d.c.finish = d.c.finish || str(choice["finish_reason"]) != ""
	if d.shape.first && whole(choice["index"]).n != 0 {
		d.text = d.text[:begin]
	}
}

// content reads text: a string, or a list of parts as some servers write it.
func (d *decoder) content(v any) {
	if s := str(v); s != "" {
		d.c.answer = true
		if d.want {
			d.text = append(d.text, s...)
		}
	}
	for _, part := range list(v) {
		p := object(part)
		d.content(p["text"])
		d.reasoning(p["thinking"])
	}
}

func (d *decoder) reasoning(v any) {
	if str(v) != "" {
		d.c.reasoning = true
	}
	for _, part := range list(v) {
		d.reasoning(object(part)["text"])
	}
}

func (d *decoder) function(f map[string]any) {
	d.c.call = d.c.call || str(f["name"]) != ""
	d.content(f["arguments"])
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// whole is a number without sign, fraction and exponent, of at most 15 digits.
func whole(v any) count {
	n, ok := v.(json.Number)
	if !ok || len(n) > 15 {
		return count{}
	}
	var c count
	for i := range len(n) {
		if n[i] < '0' || n[i] > '9' {
			return count{}
		}
		c.n = c.n*10 + uint64(n[i]-'0')
	}
	c.ok = true
	return c
}

// truthy is true of what a script would call true: clients take any such error for a failure.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case json.Number:
		f, err := v.Float64()
		return err != nil || f != 0
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return true
}
