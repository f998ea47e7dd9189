package grpcdriver

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/scenario"
)

const (
	userAgent = "loadline"
	// arrivalTag differs in every request.
	arrivalTag = "x-loadline-arrival"
)

// shape says which headers of a workload have been the same in all requests so far. Those are packed once
// for each connection.
type shape struct {
	fields *rpc.Fields
	first  []workload.Header // as the scenario writes them
	varies []bool
}

// address makes the headers of the method ready.
func (m *method) address(authority string, secure bool, sample *workload.Request) error {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	m.names = []wire.Header{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: scheme}, {Name: ":path", Value: m.path}, {Name: ":authority", Value: authority},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}, {Name: "user-agent", Value: userAgent},
		{Name: "grpc-accept-encoding", Value: "gzip"},
	}
	if m.gzip {
		m.names = append(m.names, wire.Header{Name: "grpc-encoding", Value: "gzip"})
	}
	if d := sample.Call.Deadline; d > 0 {
		m.names = append(m.names, wire.Header{Name: "grpc-timeout", Value: timeout(d)})
	}
	m.bare = rpc.NewFields(m.names)
	s := &shape{first: make([]workload.Header, len(sample.Header)), varies: make([]bool, len(sample.Header))}
	for i, h := range sample.Header {
		s.first[i] = workload.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)}
		_, err := field(h)
		s.varies[i] = err != nil || strings.EqualFold(h.Name, arrivalTag)
	}
	m.shape.Store(m.shaped(s))
	return nil
}

// timeout writes a deadline as gRPC has it: at most eight digits and a unit.
func timeout(d time.Duration) string {
	const most = 99999999
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{time.Nanosecond, "n"}, {time.Microsecond, "u"}, {time.Millisecond, "m"}, {time.Second, "S"}, {time.Minute, "M"}} {
		if n := (d + unit.d - 1) / unit.d; n <= most {
			return strconv.FormatInt(int64(n), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(d/time.Hour), 10) + "H"
}

// shaped adds the fields that have been the same.
func (m *method) shaped(s *shape) *shape {
	list := append([]wire.Header(nil), m.names...)
	for i, h := range s.first {
		if !s.varies[i] {
			f, _ := field(h) // it has been tried
			list = append(list, f)
		}
	}
	s.fields = rpc.NewFields(list)
	return s
}

// field is a header as metadata: the name in lower case, bytes in the base64 of gRPC.
func field(h workload.Header) (wire.Header, error) {
	name := strings.ToLower(h.Name)
	if !scenario.IsBinary(name) {
		return wire.Header{Name: name, Value: h.Value}, nil
	}
	b, err := scenario.DecodeBinary(h.Value)
	if err != nil {
		return wire.Header{}, fmt.Errorf("metadata %s: is not base64, as names that end in -bin want it", name)
	}
	return wire.Header{Name: name, Value: base64.RawStdEncoding.EncodeToString(b)}, nil
}

// headers are those of a request: what it shares with others, and what is its own, appended to vary.
func (m *method) headers(list []workload.Header, vary []wire.Header) (*rpc.Fields, []wire.Header, error) {
	s := m.shape.Load()
	if len(list) != len(s.first) {
		s = &shape{fields: m.bare}
	}
	for i := range list {
		same := i < len(s.first) && !s.varies[i] && list[i].Name == s.first[i].Name
		if same && list[i].Value != s.first[i].Value {
			next := &shape{first: s.first, varies: append([]bool(nil), s.varies...)}
			next.varies[i] = true
			m.shape.CompareAndSwap(s, m.shaped(next)) // whoever loses learns it again
			return m.headers(list, vary[:0])
		}
		if same {
			continue
		}
		f, err := field(list[i])
		if err != nil {
			return nil, vary, err
		}
		vary = append(vary, f)
	}
	return s.fields, vary, nil
}

// packed is a message as it is sent.
func (m *method) packed(b []byte) []byte {
	if !m.gzip {
		return append([]byte{}, b...) // not nil: the empty message is fixed too
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}
