package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ask is the part of an OpenAI request that the simulator honours; it ignores the rest.
type ask struct {
	Model               string          `json:"model"`
	Messages            []message       `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	Stream              bool            `json:"stream"`
	StreamOptions       streamOptions   `json:"stream_options"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	N                   *int            `json:"n"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// refusal is why a request is answered with an error status.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func badRequest(format string, args ...any) error {
	return &refusal{status: 400, message: fmt.Sprintf(format, args...)}
}

// parseAsk reads a request and says how many tokens its answer has (0: as many as the server likes).
func parseAsk(body []byte) (a ask, tokens int, err error) {
	if err := json.Unmarshal(body, &a); err != nil {
		return a, 0, badRequest("The body is not a JSON object as wanted: %v.", err)
	}
	if a.N != nil && *a.N != 1 {
		return a, 0, badRequest("n = %d is not supported, only 1.", *a.N)
	}
	if len(a.Model) > MaxName {
		return a, 0, badRequest("The name of the model is longer than %d bytes.", MaxName)
	}
	limit := a.MaxTokens
	if a.MaxCompletionTokens != nil {
		limit = a.MaxCompletionTokens
	}
	if limit == nil {
		return a, 0, nil
	}
	if *limit < 1 || *limit > MaxTokens {
		return a, 0, badRequest("max_tokens = %d is not between 1 and %d.", *limit, MaxTokens)
	}
	return a, *limit, nil
}

// promptReader counts the tokens of a prompt and names its whole blocks. A token is a word: a
// stretch without white space. A block's hash covers all words, and the roles, up to its end.
type promptReader struct {
	tokens int
	hash   uint64
	blocks []uint64
	named  bool // whether block names are wanted
}

func newPromptReader(named bool) *promptReader { return &promptReader{hash: fnvOffset, named: named} }

// text counts the words of one text.
func (p *promptReader) text(s []byte) {
	for word := range bytes.FieldsSeq(s) {
		p.word(word)
	}
}

func (p *promptReader) word(w []byte) {
	p.tokens++
	if !p.named {
		return
	}
	h := p.hash
	for _, c := range w {
		h = (h ^ uint64(c)) * fnvPrime
	}
	p.hash = (h ^ utf8.MaxRune) * fnvPrime
	if p.tokens%prefixBlock == 0 {
		p.blocks = append(p.blocks, mix(p.hash))
	}
}

// role sets the message that follows apart from the text before it; it counts no token.
func (p *promptReader) role(name string) { p.hash = mix(p.hash ^ hashText(name)) }

// messages reads the prompt of a chat request.
func (p *promptReader) messages(list []message) error {
	if len(list) == 0 {
		return badRequest("messages is empty.")
	}
	for i, m := range list {
		p.role(m.Role)
		if err := p.content(m.Content); err != nil {
			return badRequest("messages[%d].content %v.", i, err)
		}
	}
	return nil
}

// content reads a string, null, or a list of parts, of which those with text count.
func (p *promptReader) content(raw json.RawMessage) error {
	if len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	if raw[0] == '"' {
		return p.quoted(raw)
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return errors.New("is neither a string nor a list of parts")
	}
	for _, part := range parts {
		p.text([]byte(part.Text))
	}
	return nil
}

func (p *promptReader) quoted(raw json.RawMessage) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	p.text([]byte(s))
	return nil
}

// prompt reads the prompt of a completions request: a string, a list with one, or token numbers.
func (p *promptReader) prompt(raw json.RawMessage) error {
	if len(raw) == 0 {
		return badRequest("prompt is missing.")
	}
	if raw[0] == '"' {
		return p.quoted(raw)
	}
	var texts []string
	if json.Unmarshal(raw, &texts) == nil {
		if len(texts) != 1 {
			return badRequest("prompt holds %d texts; exactly one is supported.", len(texts))
		}
		p.text([]byte(texts[0]))
		return nil
	}
	var numbers []json.Number
	if json.Unmarshal(raw, &numbers) != nil || len(numbers) == 0 {
		return badRequest("prompt is neither a string, a list with one string, nor a list of token numbers.")
	}
	for _, n := range numbers {
		p.word([]byte(n))
	}
	return nil
}
