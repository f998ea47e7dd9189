package workload

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/loadline/loadline/internal/scenario"
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
		if err := scenario.CheckHeaderName(name); err != nil {
			c.problems.add("%s.header.name: %w", where, err)
			return
		}
		if value, ok := c.secret(where+".header.value", a.GetHeader().GetValue()); ok {
			h.set(header{name: name, value: value})
		}
	}
}

// add adds headers of the scenario. With a parser, values in the clear may hold placeholders.
func (c *compiler) add(where string, from map[string]*pb.HeaderValue, p *parser, h *headers) {
	for name, err := range scenario.HeaderNames(from) {
		at := where + "." + name
		if err != nil {
			c.problems.add("%s: %w", at, err)
			continue
		}
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
	if err := scenario.CheckHeaderValue(v.GetValue()); err != nil {
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
			if err := scenario.CheckHeaderValue(found.value); err != nil {
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
