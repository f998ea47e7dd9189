package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func connect(t *testing.T, e *bus.Embedded, name string) *bus.Conn {
	t.Helper()
	c, err := bus.Connect("", name, slog.New(slog.DiscardHandler), e.Option())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func start(t *testing.T) *bus.Embedded {
	t.Helper()
	e, err := bus.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

func TestRequestIsAnswered(t *testing.T) {
	e := start(t)
	server, client := connect(t, e, "coordinator"), connect(t, e, "a1")
	err := bus.Serve(server, bus.Register, func(q *pb.RegisterRequest) *pb.RegisterResponse {
		return pb.RegisterResponse_builder{Incarnation: q.GetNonce() + 1}.Build()
	})
	if err != nil {
		t.Fatal(err)
	}
	var reply pb.RegisterResponse
	if err := client.Call(t.Context(), bus.Register, pb.RegisterRequest_builder{Nonce: 41, Agent: pb.AgentInfo_builder{Name: "a.1"}.Build()}.Build(), &reply); err != nil {
		t.Fatal(err)
	}
	if reply.GetIncarnation() != 42 {
		t.Errorf("incarnation = %d, want 42", reply.GetIncarnation())
	}
}

func TestCallIsRepeatedUntilSomeoneServes(t *testing.T) {
	e := start(t)
	server, client := connect(t, e, "coordinator"), connect(t, e, "a1")
	answered := make(chan error, 1)
	go func() {
		var reply pb.RenewResponse
		answered <- client.Call(t.Context(), bus.Renew, pb.RenewRequest_builder{Agent: "a1"}.Build(), &reply)
	}()
	time.Sleep(50 * time.Millisecond) // a few tries meet nobody
	if err := bus.Serve(server, bus.Renew, func(*pb.RenewRequest) *pb.RenewResponse { return &pb.RenewResponse{} }); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestCallEndsWithItsContextAndNamesTheSubject(t *testing.T) {
	client := connect(t, start(t), "a1")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := client.Call(ctx, bus.Renew, pb.RenewRequest_builder{Agent: "a1"}.Build(), &pb.RenewResponse{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), bus.Renew) {
		t.Errorf("error = %v, want the deadline and the subject", err)
	}
}

func TestOversizedRequestIsRefusedBeforeItIsSent(t *testing.T) {
	client := connect(t, start(t), "a1")
	huge := pb.StopRequest_builder{Reason: strings.Repeat("x", bus.MaxMessage+1)}.Build()
	err := client.Call(t.Context(), bus.Agent("a1", bus.Stop), huge, &pb.StopResponse{})
	if err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("error = %v, want one that names the limit", err)
	}
}

func TestSubjectsKeepAgentsApart(t *testing.T) {
	for name, want := range map[string]string{
		"a1":   "loadline.v1.agent.a1.stop",
		"a.b":  "loadline.v1.agent.a%2Eb.stop",
		"a_-b": "loadline.v1.agent.a_-b.stop",
		"a>*":  "loadline.v1.agent.a%3E%2A.stop",
	} {
		if got := bus.Agent(name, bus.Stop); got != want {
			t.Errorf("Agent(%q) = %q, want %q", name, got, want)
		}
	}
}
