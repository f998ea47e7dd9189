package openai

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/loadline/loadline/internal/measure"
)

// problem is what an error object says.
type problem struct {
	class string
	text  string
}

// inStream reads an error object that came with a good status. Its class is http_<code> where the
// object has a number of 400 to 599 as code (vLLM), http_status_code (TGI), status_code or status, be it written
// as a string; else http_500, because the request failed at the server without saying how.
func inStream(top map[string]any) problem {
	e := object(top["error"])
	if e == nil && !truthy(top["error"]) {
		e = top // the flat form
	}
	status := http.StatusInternalServerError
	for _, name := range []string{"code", "http_status_code", "status_code", "status"} {
		if n := code(e[name]); n >= 400 && n <= 599 {
			status = n
			break
		}
	}
	return problem{measure.HTTPClass(status), message(top)}
}

func code(v any) int {
	s := str(v)
	if n, ok := v.(json.Number); ok {
		s = n.String()
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// fromBody is the text of an error answer: the server's message in any of the usual forms, else
// the beginning of the body.
func fromBody(body []byte) string {
	if top, err := decodeObject(body); err == nil {
		return message(top)
	}
	return string(body)
}

// message finds the words of an error in an answer.
func message(top map[string]any) string {
	for _, v := range []any{object(top["error"])["message"], top["error"], top["message"], top["detail"], top} {
		if s := str(v); s != "" {
			return s
		}
		if _, isString := v.(string); !isString && truthy(v) {
			if b, err := json.Marshal(v); err == nil {
				return string(b)
			}
		}
	}
	return "the server reports an error without a text"
}
