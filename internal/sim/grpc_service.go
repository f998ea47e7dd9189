package sim

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	simpb "github.com/loadline/loadline/proto/loadline/sim/v1"
)

// maxEchoes bounds the answers that one message to the echo may ask for.
const maxEchoes = 10_000

// echoService gives back what it is sent.
type echoService struct {
	simpb.UnimplementedEchoServiceServer

	server *Server
	conns  *connSet
}

func echoOf(r *simpb.EchoRequest, index, received uint32) *simpb.EchoResponse {
	return simpb.EchoResponse_builder{Text: new(r.GetText()), Payload: r.GetPayload(), Index: &index, Received: &received}.Build()
}

// Unary answers one message with one.
func (e *echoService) Unary(ctx context.Context, r *simpb.EchoRequest) (answer *simpb.EchoResponse, err error) {
	err = e.server.call(ctx, e.conns, routeGRPCEcho, func(x *rpc) error {
		x.arrived(r)
		answer, err = x.single(echoOf(r, 0, 1))
		return err
	})
	return answer, err
}

// single makes the only answer of a call ready, unless a fault spoils it.
func (x *rpc) single(answer *simpb.EchoResponse) (*simpb.EchoResponse, error) {
	if err := x.echoes(); err != nil {
		return nil, err
	}
	if x.strikes() {
		if err := x.suffer(); err != nil {
			return nil, err
		}
	}
	if x.empty() {
		return nil, &spoiled{status.Error(codes.Internal, "The simulator was told to answer nothing.")}
	}
	x.out.dock = nil // it is sent when the handler has returned
	return answer, x.send(func() error { return nil })
}

// ServerStream answers one message with as many as it asks for.
func (e *echoService) ServerStream(r *simpb.EchoRequest, stream grpc.ServerStreamingServer[simpb.EchoResponse]) error {
	return e.server.call(stream.Context(), e.conns, routeGRPCEcho, func(x *rpc) error {
		x.arrived(r)
		return x.several(r, 0, 1, stream.Send)
	})
}

// several answers one message with as many as it asks for, numbered from a number on.
func (x *rpc) several(r *simpb.EchoRequest, from, received uint32, send func(*simpb.EchoResponse) error) error {
	n := max(r.GetCount(), 1)
	if n > maxEchoes {
		return fmt.Errorf("count is more than %d", maxEchoes)
	}
	if x.empty() {
		return nil
	}
	for i := range n {
		if err := x.echoes(); err != nil {
			return err
		}
		if x.strikes() && x.sent == min(x.fault.After, int(n)-1) {
			if err := x.suffer(); err != nil {
				return err
			}
		}
		if err := x.send(func() error { return send(echoOf(r, from+i, received)) }); err != nil {
			return err
		}
	}
	return nil
}

// ClientStream answers a stream with its last message and the number of its messages.
func (e *echoService) ClientStream(stream grpc.ClientStreamingServer[simpb.EchoRequest, simpb.EchoResponse]) error {
	return e.server.call(stream.Context(), e.conns, routeGRPCEcho, func(x *rpc) error {
		last, n := &simpb.EchoRequest{}, uint32(0)
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if n == 0 {
				x.arrived(r)
			}
			last = r
			n++
		}
		answer, err := x.single(echoOf(last, 0, n))
		if err != nil {
			return err
		}
		return stream.SendAndClose(answer)
	})
}

// Bidi answers every message as it comes.
func (e *echoService) Bidi(stream grpc.BidiStreamingServer[simpb.EchoRequest, simpb.EchoResponse]) error {
	return e.server.call(stream.Context(), e.conns, routeGRPCEcho, func(x *rpc) error {
		for received := uint32(1); ; received++ {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if received == 1 {
				x.arrived(r)
			}
			if err := x.several(r, uint32(x.sent), received, stream.Send); err != nil {
				return err
			}
		}
	})
}

// generatorService makes tokens, timed by the simulator's law.
type generatorService struct {
	simpb.UnimplementedGeneratorServiceServer

	server *Server
	conns  *connSet
}

// Generate answers a prompt token by token.
func (g *generatorService) Generate(r *simpb.GenerateRequest, stream grpc.ServerStreamingServer[simpb.GenerateResponse]) error {
	return g.server.call(stream.Context(), g.conns, routeGenerate, func(x *rpc) error {
		x.arrived(r)
		j, err := x.understand(r)
		if err != nil {
			return err
		}
		x.end.prompt, x.end.streamed = j.prompt, true
		if x.empty() {
			return nil
		}
		p := x.server.pace(&x.sleep, j, x.key, x.end.begun)
		defer p.close()
		return x.generate(j, p, stream)
	})
}

// understand turns a request into a job.
func (x *rpc) understand(r *simpb.GenerateRequest) (*job, error) {
	cfg := &x.server.cfg
	if r.GetCount() > MaxTokens {
		return nil, fmt.Errorf("count is more than %d", MaxTokens)
	}
	p := newPromptReader(cfg.Law == LawBatching && !cfg.Batching.NoPrefix)
	p.text([]byte(r.GetPrompt()))
	j := &job{prompt: p.tokens, blocks: p.blocks, output: int(r.GetCount()), stream: true}
	if j.output == 0 {
		j.output = cfg.OutputTokens
	}
	if limit := cfg.context(); limit > 0 && max(j.prompt, 1)+j.output > limit {
		return nil, fmt.Errorf("the prompt of %d tokens and an answer of %d are more than the context of %d", j.prompt, j.output, limit)
	}
	return j, nil
}

// generate sends the tokens as they are ready, those of several events together where so configured.
func (x *rpc) generate(j *job, p pace, stream grpc.ServerStreamingServer[simpb.GenerateResponse]) error {
	cfg := &x.server.cfg
	words := renderer{words: x.server.words, offset: int(x.key % 1009)}
	strike := strikeAt(x.fault, j.output)
	var text []byte
	for done := 0; ; {
		if done == strike {
			strike = -1
			if err := x.suffer(); err != nil {
				return err
			}
		}
		if done == j.output {
			return nil
		}
		to := min(done+cfg.TokensPerEvent*cfg.EventsPerWrite, j.output)
		if done < strike {
			to = min(to, strike)
		}
		if err := p.wait(to); err != nil {
			return err
		}
		for from := done; from < to; from += cfg.TokensPerEvent {
			end := min(from+cfg.TokensPerEvent, to)
			text = words.text(text[:0], from, end)
			m := simpb.GenerateResponse_builder{Text: new(string(text)), Index: new(uint32(from)), Last: new(end == j.output)}.Build()
			if err := x.send(func() error { return stream.Send(m) }); err != nil {
				return err
			}
			x.end.completion = end
		}
		done = to
	}
}
