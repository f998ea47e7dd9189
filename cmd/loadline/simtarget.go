package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// simTargets are the simulators that stand behind the sim:// targets of one run.
type simTargets struct {
	// addresses of the targets, by name; they stand in for the sim:// addresses in this run alone, so that the
	// scenario and its digest are those that the user wrote.
	addresses map[string]string

	cancel context.CancelFunc
	served sync.WaitGroup
	mu     sync.Mutex
	errs   []error
}

// startSimTargets starts a simulator on a loopback port of its own for each target whose address is sim://PRESET.
func startSimTargets(ctx context.Context, s *pb.Scenario, log *slog.Logger) (*simTargets, error) {
	ctx, cancel := context.WithCancel(ctx)
	t := &simTargets{addresses: map[string]string{}, cancel: cancel}
	for _, target := range s.GetTargets() {
		preset, ok := strings.CutPrefix(target.GetUrl(), simScheme)
		if !ok {
			continue
		}
		address, err := t.start(ctx, strings.TrimSuffix(preset, "/"), target.GetProtocol(), s.GetSeed(), log)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("target %s: %w", target.GetName(), err), t.close())
		}
		t.addresses[target.GetName()] = address
	}
	return t, nil
}

// start starts a simulator that speaks a target's protocol, and gives the address of it.
func (t *simTargets) start(ctx context.Context, preset string, protocol pb.Protocol, seed uint64, log *slog.Logger) (string, error) {
	config, err := sim.Preset(preset)
	if err != nil {
		return "", badInput("%w", err)
	}
	config.Seed, config.Log = seed, log
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("no loopback port for the simulator: %w", err)
	}
	server, err := sim.New(config)
	if err != nil {
		return "", errors.Join(err, listener.Close())
	}
	serve, scheme, path := server.Serve, "http://", "/v1"
	switch protocol {
	case pb.Protocol_PROTOCOL_HTTP:
		path = ""
	case pb.Protocol_PROTOCOL_GRPC:
		serve, scheme, path = server.ServeGRPC, "grpc://", ""
	}
	t.served.Go(func() {
		if err := serve(ctx, listener); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.errs = append(t.errs, fmt.Errorf("simulator: %w", err))
		}
	})
	return scheme + listener.Addr().String() + path, nil
}

// close ends the simulators and waits for them.
func (t *simTargets) close() error {
	t.cancel()
	t.served.Wait()
	return errors.Join(t.errs...)
}
