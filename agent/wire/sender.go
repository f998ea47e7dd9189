package wire

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/loadline/loadline/internal/measure"
)

// sender writes the heads of HTTP/1.1 requests. It keeps the bytes of the latest one: where the next has
// the same beginning, as the requests of a workload have, only what differs is checked and written anew.
// What commonly differs, the arrival's tag and the length, therefore stands last.
//
//	line Host User-Agent field… | what differs | Content-Length blank body
type sender struct {
	out          []byte
	method, path string
	host, agent  string
	fields       []Header // as they stand in out
	ends         []int    // ends[i] is where fields[i] ends in out
	begin        int      // where the first of them begins; 0: there is nothing to keep
	close        bool     // the request asks for the connection to be closed
}

// senders are those that are not in use: an exchange has one until its request is sent.
type senders struct{ pool sync.Pool }

func (p *senders) get() *sender {
	if s, ok := p.pool.Get().(*sender); ok {
		return s
	}
	return new(sender)
}

// letGo gives the exchange's sender back.
func (c *Client) letGo(ex *Exchange) {
	if ex.send != nil {
		c.senders.pool.Put(ex.send)
		ex.send = nil
	}
}

// prepare writes the head of a request, and its body if it is small. A request that cannot be sent is
// an [*Error].
func (s *sender) prepare(c *Client, req *Request) error {
	host, agent := c.host, userAgent
	s.close = false
	for i := range req.Header {
		switch h := &req.Header[i]; {
		case len(h.Name) == 4 && strings.EqualFold(h.Name, "Host"):
			host = h.Value
		case len(h.Name) == 10 && strings.EqualFold(h.Name, "User-Agent"):
			agent = h.Value
		case len(h.Name) == 10 && strings.EqualFold(h.Name, "Connection"):
			s.close = httpguts.HeaderValuesContainsToken([]string{h.Value}, "close")
		}
	}
	if s.begin == 0 || s.method != req.Method || s.path != req.Path || s.host != host || s.agent != agent {
		if err := s.restart(c, req, host, agent); err != nil {
			return err
		}
	}
	if err := s.write(req.Header); err != nil {
		return err
	}
	if len(req.Body) > 0 || req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH" {
		s.out = append(s.out, "Content-Length: "...)
		s.out = strconv.AppendInt(s.out, int64(len(req.Body)), 10)
		s.out = append(s.out, "\r\n"...)
	}
	s.out = append(s.out, "\r\n"...)
	if len(req.Body) <= inlineBody {
		s.out = append(s.out, req.Body...)
	}
	return nil
}

// restart writes what stands before the fields.
func (s *sender) restart(c *Client, req *Request, host, agent string) error {
	s.begin, s.fields, s.ends = 0, s.fields[:0], s.ends[:0]
	if !httpguts.ValidHeaderFieldName(req.Method) {
		return fail(measure.ClassSend, "the method is not valid")
	}
	b := append(append(s.out[:0], req.Method...), ' ')
	b = appendTarget(b, c.base, req.Path)
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", host)
	b = appendField(b, "User-Agent", agent)
	s.out, s.begin = b, len(b)
	s.method, s.path, s.host, s.agent = req.Method, req.Path, host, agent
	return nil
}

// write writes the fields from the first on that is not there already.
func (s *sender) write(header []Header) error {
	same := 0
	for same < min(len(header), len(s.fields)) && header[same] == s.fields[same] {
		same++
	}
	end := s.begin
	if same > 0 {
		end = s.ends[same-1]
	}
	s.out, s.fields, s.ends = s.out[:end], s.fields[:same], s.ends[:same]
	for _, h := range header[same:] {
		if err := checkHeader(h.Name, h.Value); err != nil {
			s.begin = 0
			return &Error{measure.ClassSend, err}
		}
		if !strings.EqualFold(h.Name, "Host") && !strings.EqualFold(h.Name, "User-Agent") {
			s.out = appendField(s.out, h.Name, h.Value)
		}
		s.fields, s.ends = append(s.fields, h), append(s.ends, len(s.out))
	}
	return nil
}
