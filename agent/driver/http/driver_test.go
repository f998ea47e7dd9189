package httpdriver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func ptr[T any](v T) *T { return &v }

func newDriver(t testing.TB, addr string, o *pb.Timeouts) *Driver {
	t.Helper()
	d, err := New(pb.Target_builder{Name: ptr("api"), Url: ptr("http://" + addr), Protocol: ptr(pb.Protocol_PROTOCOL_HTTP), Timeouts: o}.Build(), Config{Now: wiretest.Clock()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func answer(status, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

func TestAnswers(t *testing.T) {
	contains := pb.Check_builder{Contains: ptr("ok")}.Build()
	not := pb.Check_builder{NotContains: ptr("error")}.Build()
	atMost := pb.Check_builder{MaxBody: ptr(uint64(10))}.Build()
	path := pb.Check_builder{JsonPath: pb.JsonPathCheck_builder{Path: ptr("$.items[1].n"), Equals: structpb.NewNumberValue(2)}.Build()}.Build()
	for _, c := range []struct {
		name   string
		answer string
		rules  *workload.Rules
		class  string
		err    string
	}{
		{"any 2xx", answer("201 Created", "x"), nil, "", ""},
		{"an empty 204 is a success", "HTTP/1.1 204 No Content\r\n\r\n", nil, "", ""},
		{"an empty 200 is a success", answer("200 OK", ""), &workload.Rules{}, "", ""},
		{"unless content is needed", answer("200 OK", ""), &workload.Rules{NeedContent: true}, "empty", ""},
		{"3xx is not followed", answer("302 Found", ""), nil, "http_302", "Found"},
		{"401", answer("401 Unauthorized", "the key abc-canary is wrong"), nil, "http_401", "the key *** is wrong"},
		{"429", answer("429 Too Many Requests", ""), nil, "http_429", "Too Many Requests"},
		{"500", answer("500 Internal Server Error", "boom\x1b[0m\nat line 1"), nil, "http_500", "boom [0m at line 1"},
		{"an expected status", answer("404 Not Found", ""), &workload.Rules{Expect: []uint32{200, 404}}, "", ""},
		{"a good status that is not expected", answer("200 OK", ""), &workload.Rules{Expect: []uint32{201}}, "http_200", "OK"},
		{"contains", answer("200 OK", "all ok"), &workload.Rules{Checks: []*pb.Check{contains, not}}, "", ""},
		{"does not contain", answer("200 OK", "no"), &workload.Rules{Checks: []*pb.Check{contains, not}}, "check_contains", `"ok"`},
		{"contains what it must not", answer("200 OK", "ok error"), &workload.Rules{Checks: []*pb.Check{contains, not}}, "check_not_contains", `"error"`},
		{"short enough", answer("200 OK", "0123456789"), &workload.Rules{Checks: []*pb.Check{atMost}}, "", ""},
		{"too long for the check", answer("200 OK", "01234567890"), &workload.Rules{Checks: []*pb.Check{atMost}}, "check_max_body", "10 bytes"},
		{"path", answer("200 OK", `{"items":[{"n":1},{"n":2}]}`), &workload.Rules{Checks: []*pb.Check{path}}, "", ""},
		{"another value", answer("200 OK", `{"items":[{"n":1},{"n":3}]}`), &workload.Rules{Checks: []*pb.Check{path}}, "check_json_path", "another"},
		{"nothing there", answer("200 OK", `{"items":[]}`), &workload.Rules{Checks: []*pb.Check{path}}, "check_json_path", "nothing"},
		{"not JSON", answer("200 OK", "ok"), &workload.Rules{Checks: []*pb.Check{path}}, "check_json_path", "not JSON"},
		{"too long to check", answer("200 OK", strings.Repeat("x", 2<<20)), &workload.Rules{Checks: []*pb.Check{contains}}, "oversized", "1 MiB"},
		{"long, without checks", answer("200 OK", strings.Repeat("x", 2<<20)), nil, "", ""},
		{"garbage", "garbage\r\n\r\n", nil, "malformed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, wiretest.Answer(t, c.answer), nil)
			var o measure.Outcome
			for range 2 {
				o.Reset()
				r := &workload.Request{Method: "POST", Path: "/echo", Body: []byte("hello"), Rules: c.rules, Header: []workload.Header{{Name: "X-Key", Value: "abc-canary"}}}
				d.Do(wiretest.Context(t), r, &o)
				if o.Class != c.class || !strings.Contains(o.Err, c.err) || strings.Contains(o.Err, "canary") {
					t.Errorf("class %q (%s), want %q (%s)", o.Class, o.Err, c.class, c.err)
				}
				if !o.End.Reached() || o.Streamed || len(o.Events) > 0 || o.Tokens != measure.TokensUnknown || len(o.Body) > 0 {
					t.Errorf("outcome %+v", o)
				}
			}
		})
	}
}

func TestKeptBody(t *testing.T) {
	d := newDriver(t, wiretest.Answer(t, answer("200 OK", "your key is abc-canary."+strings.Repeat("é", measure.MaxBody))), nil)
	var o measure.Outcome
	o.Reset()
	d.Do(wiretest.Context(t), &workload.Request{Method: "GET", Path: "/", KeepBody: true, Header: []workload.Header{{Name: "Authorization", Value: "Bearer abc-canary"}}}, &o)
	if o.Class != "" || !strings.HasPrefix(string(o.Body), "your key is ***.é") || len(o.Body) > measure.MaxBody || len(o.Body) < measure.MaxBody-4 {
		t.Errorf("class %q, %d bytes: %.40q", o.Class, len(o.Body), o.Body)
	}
}

func TestTimeLimits(t *testing.T) {
	ms := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }
	for _, c := range []struct {
		name   string
		o      pb.Timeouts_builder
		pieces []string
		class  string
	}{
		{"before the first byte", pb.Timeouts_builder{FirstToken: ms(200)}, nil, "first_token_timeout"},
		{"in the middle", pb.Timeouts_builder{Stall: ms(200)}, []string{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "hello"}, "stall_timeout"},
		{"an error status that stays incomplete", pb.Timeouts_builder{Stall: ms(200)}, []string{"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n", "busy"}, "http_503"},
		{"in all", pb.Timeouts_builder{Total: ms(200)}, []string{"HTTP/1.1 200 OK\r\n\r\n"}, "total_timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := wiretest.Serve(t, func(_ int, conn *wiretest.Conn) { conn.Request(); conn.Send(c.pieces...); conn.Hang() })
			var o measure.Outcome
			o.Reset()
			newDriver(t, addr, c.o.Build()).Do(wiretest.Context(t), &workload.Request{Method: "GET", Path: "/"}, &o)
			if o.Class != c.class || !o.End.Reached() || o.End < o.Dispatched {
				t.Errorf("class %q (%s), end %v", o.Class, o.Err, o.End)
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(wiretest.Context(t))
	addr := wiretest.Serve(t, func(_ int, conn *wiretest.Conn) {
		conn.Request()
		cancel(errors.New("the drain is over"))
		conn.Hang()
	})
	var o measure.Outcome
	o.Reset()
	newDriver(t, addr, nil).Do(ctx, &workload.Request{Method: "GET", Path: "/"}, &o)
	if o.Class != measure.ClassCanceled || o.Err != "the drain is over" || !o.End.Reached() {
		t.Errorf("class %q (%s), end %v", o.Class, o.Err, o.End)
	}
}

func TestWrongProtocol(t *testing.T) {
	if _, err := New(pb.Target_builder{Url: ptr("http://x"), Protocol: ptr(pb.Protocol_PROTOCOL_OPENAI_CHAT)}.Build(), Config{Now: wiretest.Clock()}); err == nil {
		t.Error("a target of another protocol is accepted")
	}
}

func BenchmarkDo(b *testing.B) {
	d := newDriver(b, wiretest.Answer(b, answer("200 OK", "hello")), nil)
	r := &workload.Request{Method: "POST", Path: "/echo", Body: []byte("hello"), Header: []workload.Header{{Name: "Content-Type", Value: "text/plain"}}}
	var o measure.Outcome
	b.ReportAllocs()
	for b.Loop() {
		o.Reset()
		d.Do(b.Context(), r, &o)
		if o.Class != "" {
			b.Fatal(o.Class, o.Err)
		}
	}
}
