package workload

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Names of the headers that tag a request.
const (
	runHeader     = "X-Loadline-Run"
	arrivalHeader = "X-Loadline-Arrival"
)

// userAgent is sent unless the scenario has another one.
const userAgent = "loadline"

// header is a compiled header: a value, or a template that each request fills in.
type header struct {
	name, value string
	template    *template
}

// headers gathers a workload's headers; a later one takes the place of an earlier one of the same name.
type headers struct{ list []header }

func (h *headers) set(n header) {
	same := func(o header) bool { return strings.EqualFold(o.name, n.name) }
	if i := slices.IndexFunc(h.list, same); i >= 0 {
		h.list[i] = n
		return
	}
	h.list = append(h.list, n)
}

// get is the value of a header; empty: none, or one that differs from request to request.
func (h *headers) get(name string) string {
	for _, o := range h.list {
		if strings.EqualFold(o.name, name) {
			return o.value
		}
	}
	return ""
}

// checkHeaderName refuses what is no header name, what would break the request's framing, and what
// loadline itself sets.
func (c *compiler) checkHeaderName(name string) error {
	for i := range len(name) {
		if ch := name[i]; !unreserved(ch) && strings.IndexByte("!#$%&'*+^`|", ch) < 0 {
			return errors.New("not a header name")
		}
	}
	switch strings.ToLower(name) {
	case "":
		return errors.New("a header needs a name")
	case "accept-encoding":
		return errors.New("compressed answers are not in this version")
	case "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te", "trailer", "expect":
		return errors.New("this header follows from the request and cannot be set")
	case strings.ToLower(runHeader), strings.ToLower(arrivalHeader):
		if c.tag {
			return errors.New("loadline sets this header; use another name, or tag_requests: false")
		}
	}
	return nil
}

// checkHeaderText refuses what would end a header's line early, or its value.
func checkHeaderText[T string | []byte](text T) error {
	for i := range len(text) {
		if ch := text[i]; ch < ' ' && ch != '\t' || ch == 0x7f {
			return errors.New("holds a control character, such as a line end, which a header cannot carry")
		}
	}
	if len(text) > MaxHeaderValue {
		return fmt.Errorf("is longer than %d bytes", MaxHeaderValue)
	}
	return nil
}

// auth adds the header that carries the target's credentials.
func (c *compiler) auth(where string, a *pb.Auth, h *headers) {
	switch a.WhichScheme() {
	case pb.Auth_Bearer_case:
		if token, ok := c.secret(where+".bearer", a.GetBearer()); ok {
			h.set(header{name: "Authorization", value: "Bearer " + token})
		}
	case pb.Auth_Basic_case:
		if password, ok := c.secret(where+".basic.password", a.GetBasic().GetPassword()); ok {
			pair := a.GetBasic().GetUser() + ":" + password
			h.set(header{name: "Authorization", value: "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))})
		}
	case pb.Auth_Header_case:
		name := a.GetHeader().GetName()
		if err := c.checkHeaderName(name); err != nil {
			c.problems.add("%s.header.name: %q: %w", where, name, err)
			return
		}
		if value, ok := c.secret(where+".header.value", a.GetHeader().GetValue()); ok {
			h.set(header{name: name, value: value})
		}
	}
}

// add adds headers of the scenario. With a parser, values in the clear may hold placeholders.
func (c *compiler) add(where string, from map[string]*pb.HeaderValue, p *parser, h *headers) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		at := where + "." + name
		if err := c.checkHeaderName(name); err != nil {
			c.problems.add("%s: %w", at, err)
			continue
		}
		if other, ok := seen[strings.ToLower(name)]; ok {
			c.problems.add("%s: the same header as %q; keep one of them", at, other)
			continue
		}
		seen[strings.ToLower(name)] = name
		if n, ok := c.headerValue(at, from[name], p); ok {
			n.name = name
			h.set(n)
		}
	}
}

// headerValue compiles a header's value.
func (c *compiler) headerValue(where string, v *pb.HeaderValue, p *parser) (header, bool) {
	switch v.WhichSource() {
	case pb.HeaderValue_Env_case:
		value, ok := c.secret(where, pb.SecretRef_builder{Env: new(v.GetEnv())}.Build())
		return header{value: value}, ok
	case pb.HeaderValue_File_case:
		value, ok := c.secret(where, pb.SecretRef_builder{File: new(v.GetFile())}.Build())
		return header{value: value}, ok
	}
	if err := checkHeaderText(v.GetValue()); err != nil {
		c.problems.add("%s: %w", where, err)
		return header{}, false
	}
	if p == nil {
		return header{value: v.GetValue()}, true
	}
	t, err := p.parse(v.GetValue(), inText)
	if err != nil {
		c.problems.add("%s: %w", where, err)
		return header{}, false
	}
	if text, fixed := t.fixed(); fixed {
		return header{value: text}, true
	}
	return header{template: t}, true
}

// secret looks a secret up, once, and refuses a value that no header can carry. It never tells the value.
func (c *compiler) secret(where string, ref *pb.SecretRef) (string, bool) {
	key := "env " + ref.GetEnv()
	if ref.HasFile() {
		key = "file " + ref.GetFile()
	}
	found, ok := c.found[key]
	if !ok {
		found.value, found.err = c.secrets(ref)
		if found.err == nil {
			if err := checkHeaderText(found.value); err != nil {
				found.err = fmt.Errorf("the value of %s %w", key, err)
			}
		}
		c.found[key] = found
	}
	if found.err != nil {
		c.problems.add("%s: %w", where, found.err)
	}
	return found.value, found.err == nil
}

// found is a secret that has been looked up.
type found struct {
	value string
	err   error
}
