package sim

import (
	"encoding/json"
	"strconv"
)

// words are the vocabulary of every answer; none needs escaping in JSON.
const words = "the load line of a ship is drawn where water may rise no higher and every cargo is weighed before it sails "

// vocabulary is words cut up, each with the blank before it.
type vocabulary []string

func newVocabulary() vocabulary {
	var v vocabulary
	start := 0
	for i := range len(words) {
		if words[i] == ' ' {
			v = append(v, " "+words[start:i])
			start = i + 1
		}
	}
	return v
}

// renderer makes the bytes of one answer. What is the same in every chunk is made once.
type renderer struct {
	job    *job
	chat   bool
	words  vocabulary
	offset int
	// head opens every chunk up to the choices; before and after enclose the text of a chunk,
	// last encloses that of one with the finish reason.
	head                string
	before, after, last string
}

func newRenderer(x *exchange, j *job) *renderer {
	r := &renderer{job: j, chat: x.end.route == routeChat, words: x.server.words, offset: int(x.key % 1009)}
	name, object := "cmpl-", "text_completion"
	if r.chat {
		name, object = "chatcmpl-", "chat.completion"
		if j.stream {
			object += ".chunk"
		}
	}
	model, err := json.Marshal(j.model)
	if err != nil {
		model = []byte(`"sim"`) // unreachable: every string encodes
	}
	created := x.server.clock.base.Unix() + x.begun/1e9
	r.head = `{"id":"` + name + hexDigest(x.key) + `","object":"` + object + `","created":` +
		strconv.FormatInt(created, 10) + `,"model":` + string(model)
	r.before, r.after, r.last = `{"index":0,"text":"`, `","finish_reason":null}`, `","finish_reason":"`+j.finish+`"}`
	if r.chat {
		r.before, r.after, r.last = `{"index":0,"delta":{"content":"`, `"},"finish_reason":null}`, `"},"finish_reason":"`+j.finish+`"}`
	}
	return r
}

// text appends tokens from…to-1 of the answer.
func (r *renderer) text(b []byte, from, to int) []byte {
	for i := from; i < to; i++ {
		w := r.words[(r.offset+i)%len(r.words)]
		if i == 0 {
			w = w[1:]
		}
		b = append(b, w...)
	}
	return b
}

func (r *renderer) open(b []byte) []byte {
	b = append(b, "data: "...)
	b = append(b, r.head...)
	return append(b, `,"choices":[`...)
}

// role appends the chunk that only names the role.
func (r *renderer) role(b []byte) []byte {
	b = r.open(b)
	return append(b, `{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`+"\n\n"...)
}

// content appends the chunk of tokens from…to-1, with the finish reason if it is to hold it.
func (r *renderer) content(b []byte, from, to int, finish bool) []byte {
	b = r.open(b)
	b = append(b, r.before...)
	b = r.text(b, from, to)
	if finish {
		b = append(b, r.last...)
	} else {
		b = append(b, r.after...)
	}
	return append(b, "]}\n\n"...)
}

// finish appends the chunk that only holds the finish reason.
func (r *renderer) finish(b []byte) []byte {
	b = r.open(b)
	if r.chat {
		b = append(b, `{"index":0,"delta":{},"finish_reason":"`...)
	} else {
		b = append(b, `{"index":0,"text":"","finish_reason":"`...)
	}
	b = append(b, r.job.finish...)
	return append(b, "\"}]}\n\n"...)
}

// trailer appends the usage chunk.
func (r *renderer) trailer(b []byte, tokens, cached int) []byte {
	b = r.open(b)
	b = append(b, `],"usage":`...)
	b = r.usage(b, tokens, cached)
	return append(b, "}\n\n"...)
}

func (r *renderer) usage(b []byte, tokens, cached int) []byte {
	b = append(b, `{"prompt_tokens":`...)
	b = strconv.AppendInt(b, int64(r.job.prompt), 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, int64(tokens), 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, int64(r.job.prompt+tokens), 10)
	b = append(b, `,"prompt_tokens_details":{"cached_tokens":`...)
	b = strconv.AppendInt(b, int64(cached), 10)
	return append(b, "}}"...)
}

const (
	doneEvent      = "data: [DONE]\n\n"
	malformedEvent = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"oops\n\n"
)

// document is the answer in one piece.
func (r *renderer) document(tokens, cached int) []byte {
	b := append([]byte(nil), r.head...)
	if r.chat {
		b = append(b, `,"choices":[{"index":0,"message":{"role":"assistant","content":"`...)
		b = r.text(b, 0, tokens)
		b = append(b, `"},"finish_reason":"`...)
	} else {
		b = append(b, `,"choices":[{"index":0,"text":"`...)
		b = r.text(b, 0, tokens)
		b = append(b, `","finish_reason":"`...)
	}
	b = append(b, r.job.finish...)
	b = append(b, `"}],"usage":`...)
	b = r.usage(b, tokens, cached)
	return append(b, '}')
}
