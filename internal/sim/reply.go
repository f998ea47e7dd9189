package sim

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// errRefused ends an exchange that was answered with an error status.
var errRefused = errors.New("refused")

// errorObject is how an OpenAI server tells of a failure.
type errorObject struct {
	Error errorBody `json:"error"`
}

type errorBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    any     `json:"code"`
}

// encode turns one of our own structs into JSON, which cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("sim: own struct does not encode: " + err.Error())
	}
	return b
}

func errorText(kind, message string, code any) []byte {
	return encode(errorObject{Error: errorBody{Message: message, Type: kind, Code: code}})
}

// refuse answers with an error status and object. It returns errRefused, or why that failed.
func (x *exchange) refuse(status int, kind, message string, retryAfter time.Duration) error {
	h := x.w.Header()
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((retryAfter+time.Second-1)/time.Second)))
	}
	body := errorText(kind, message, status)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if err := x.status(status); err != nil {
		return err
	}
	if err := x.write(body); err != nil {
		return err
	}
	return errRefused
}

// document answers 200 with a whole body, spoiled by the fault of the request if it has one that
// strikes in the middle of an answer.
func (x *exchange) document(contentType string, body []byte) error {
	x.w.Header().Set("Content-Type", contentType)
	f := x.fault
	if f == nil {
		return x.whole(body)
	}
	switch f.Kind {
	case KindEmpty:
		return broken(x.whole(nil))
	case KindError:
		return broken(x.whole(errorText("injected_error", "The simulator was told to fail.", f.Code)))
	case KindReset, KindTruncated, KindStall, KindMalformed, KindEndless:
		return x.halves(f, body)
	default:
		return x.whole(body)
	}
}

func (x *exchange) whole(body []byte) error {
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if err := x.status(http.StatusOK); err != nil {
		return err
	}
	err := x.write(body)
	return err
}

// halves lets the fault strike after half the body.
func (x *exchange) halves(f *Fault, body []byte) error {
	half := len(body) / 2
	if err := x.write(body[:half]); err != nil {
		return err
	}
	switch f.Kind {
	case KindReset:
		return x.reset()
	case KindStall:
		if err := x.stall(f); err != nil {
			return err
		}
		err := x.write(body[half:])
		return err
	case KindMalformed:
		err := x.write([]byte(`"{,`))
		return broken(err)
	case KindEndless:
		return x.endless(f)
	default: // truncated
		return errBroken
	}
}

// broken is errBroken unless there was an error that came before.
func broken(err error) error {
	if err != nil {
		return err
	}
	return errBroken
}

// stall waits as long as the fault says.
func (x *exchange) stall(f *Fault) error {
	_, err := x.sleep.until(x.sleep.clock.now() + int64(f.For))
	return err
}

// endless writes one line until its length is met, the client hangs up or the server stops; then
// the connection is closed, without a reset, which would throw away what is on its way.
func (x *exchange) endless(f *Fault) error {
	left := f.Bytes
	if left == 0 {
		left = defaultEndless
	}
	const step = 32 << 10
	block := make([]byte, step)
	for i := range block {
		block[i] = 'a'
	}
	for left > 0 {
		select {
		case <-x.sleep.stop:
			return errStopped
		default:
		}
		n := min(left, step)
		if err := x.write(block[:n]); err != nil {
			return errBroken // the client hung up, as it should
		}
		left -= n
	}
	x.aborted = true
	return errBroken
}

// authorized compares the API key, where one is wanted.
func (s *Server) authorized(r *http.Request) bool { return s.knows(r.Header.Get("Authorization")) }

// knows compares what a request shows with the key, where one is wanted.
func (s *Server) knows(got string) bool {
	if s.cfg.APIKey == "" {
		return true
	}
	want := "Bearer " + s.cfg.APIKey
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}
