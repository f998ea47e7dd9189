package scenario

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// HeaderError says why a header may not be set. It never quotes a value.
type HeaderError struct {
	// Message says what is wrong, Hint how to mend it; Hint may be empty.
	Message, Hint string
}

func (e *HeaderError) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// HeaderNames yields the names of a scenario's headers in order and, with each name that may not be
// set, why: CheckHeaderName refuses it, or it is one of the names before it in another case. The
// errors are of type *HeaderError.
func HeaderNames(headers map[string]*pb.HeaderValue) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		seen := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			err := CheckHeaderName(name)
			if err == nil {
				lower := strings.ToLower(name)
				if other, ok := seen[lower]; ok {
					err = &HeaderError{"is " + quote(other) + " again: the names of headers have no case", "keep one of the two"}
				} else {
					seen[lower] = name
				}
			}
			if !yield(name, err) {
				return
			}
		}
	}
}

// CheckHeaderName says why a scenario may not set the header of this name; nil: it may. It refuses
// what is not a name (RFC 9110, token), what belongs to the connection and the framing, and what
// loadline sets itself. The error is of type *HeaderError.
func CheckHeaderName(name string) error {
	switch lower := strings.ToLower(name); {
	case name == "" || strings.Trim(name, headerChars) != "":
		return &HeaderError{quote(name) + " is not the name of a header", "use letters, digits and hyphens"}
	case lower == "accept-encoding":
		return &HeaderError{"compressed answers are not in this version", "leave it out"}
	case contains(clientHeaders(), lower):
		return &HeaderError{name + " is set by the HTTP client itself", "leave it out"}
	case strings.HasPrefix(lower, "x-loadline-"):
		return &HeaderError{"headers that begin with X-Loadline- are loadline's own", "choose another name"}
	}
	return nil
}

// clientHeaders follow from the request and its connection.
func clientHeaders() []string {
	return []string{
		"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
	}
}

// headerChars are the characters of a header's name (RFC 9110, token).
const headerChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// CheckHeaderValue says why no header can have a value; nil: it can. It refuses what would end the
// header's line early, and more than MaxHeaderValue bytes. The error is of type *HeaderError.
func CheckHeaderValue[T string | []byte](value T) error {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return &HeaderError{"holds a control character, such as a line end, which a header cannot carry", ""}
		}
	}
	if len(value) > MaxHeaderValue {
		return &HeaderError{"is longer than " + thousands(MaxHeaderValue) + " bytes", ""}
	}
	return nil
}

// headers checks names and values. slots tells which placeholders the values may hold; nil: none.
func (c *checker) headers(p *path, headers map[string]*pb.HeaderValue, slots *slots) {
	for name, err := range HeaderNames(headers) {
		at, v := p.key(name), headers[name]
		switch {
		case err != nil:
			c.headerFault(c.key, at, err)
		case v.HasValue():
			c.headerValue(at, name, v.GetValue(), slots)
		}
	}
}

func (c *checker) headerValue(p *path, name, v string, slots *slots) {
	if isSecretHeader(name) && v != "" && (slots == nil || !strings.Contains(v, "{{")) {
		c.hide(v)
		c.value(p, "a secret must not stand in the scenario", secretHint(name))
	} else if err := CheckHeaderValue(v); err != nil {
		c.headerFault(c.value, p, err)
	} else {
		c.placeholders(p, v, slots)
	}
}

// headerFault notes what is wrong with a header, if anything.
func (c *checker) headerFault(note func(p *path, message, hint string), p *path, err error) {
	var e *HeaderError
	if errors.As(err, &e) {
		note(p, e.Message, e.Hint)
	}
}

// isSecretHeader reports whether a header's value is most likely a credential.
func isSecretHeader(name string) bool {
	n := strings.ToLower(name)
	return contains([]string{"authorization", "proxy-authorization", "cookie", "token", "apikey", "x-apikey"}, n) ||
		strings.HasSuffix(n, "api-key") || strings.HasSuffix(n, "-token") || strings.HasSuffix(n, "-secret") || strings.HasSuffix(n, "password")
}

func secretHint(name string) string {
	if strings.EqualFold(name, "authorization") {
		return "use auth: {bearer: {env: NAME}} at the target, or Authorization: {env: NAME} with the whole value in the variable"
	}
	return "write " + name + ": {env: NAME}; the variable is read on the agent and its value never leaves it"
}
