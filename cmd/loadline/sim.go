package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/internal/sim"
)

// simOptions are the flags of sim.
type simOptions struct {
	flags          *flags
	address        string
	grpcAddress    string
	preset, law    string
	ttft, itl      string
	echo, batching string
	model, keyEnv  string
	role           string
	faults         []string
	seed           uint64
	output         int
	context        int
	tokensPerEvent int
	eventsPerWrite int
	meanInput      int
	meanOutput     int
	finishWithLast bool
	noUsage        bool
	requests       int
}

func (a *app) simCommand() *cobra.Command {
	o := &simOptions{}
	d := sim.Default()
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Serve a simulated model endpoint to rehearse against",
		Long: `Serve /v1/chat/completions, /v1/completions, /v1/models, /health and /echo until a signal comes.
With --grpc-address also loadline.sim.v1 by gRPC, with reflection and health. Answers are timed by a law: fixed draws each from distributions, batching lets requests share a simulated accelerator,
so that the endpoint has a real knee, which is printed at start. GET /truth tells what the simulator did.`,
		Example: `  loadline sim
  loadline sim --preset fragile --address 127.0.0.1:9000
  loadline sim --grpc-address 127.0.0.1:8001
  loadline sim --law fixed --ttft lognormal:80ms,300ms --itl 12ms
  loadline sim --batching batch=32,kv=40000 --fault status:p=0.02,code=429,retry_after=1s --fault freeze:for=1s,every=10s`,
		Args: noArguments,
		RunE: action(func(ctx context.Context, _ []string) error { return a.serveSim(ctx, o) }),
	}
	f := a.newFlags(cmd, simVariablePrefix)
	o.flags = f
	f.text(&o.address, "address", "127.0.0.1:8000", "address `HOST:PORT` to listen on; port 0 takes a free one")
	f.text(&o.grpcAddress, "grpc-address", "", "address `HOST:PORT` to serve gRPC on as well; empty: no gRPC")
	f.text(&o.preset, "preset", "small", "`NAME` of the parameters to start from: "+strings.Join(sim.Presets(), ", "))
	f.text(&o.law, "law", "", "`NAME` of the law: fixed or batching (default: fixed when --ttft or --itl is given, else batching)")
	f.text(&o.ttft, "ttft", "", "law fixed: time `LAW` to the first token, as 50ms, uniform:10ms..30ms, normal:20ms,5ms, lognormal:20ms,60ms (median, p95) or exponential:50ms")
	f.text(&o.itl, "itl", "", "law fixed: time `LAW` between tokens, likewise")
	f.text(&o.batching, "batching", "", "law batching: `LIST` of parameters over the preset's, as step=12ms,seq=150us,cached=40ns,prompt=30us,batch=64,kv=60000,budget=2048,queue=100,prefix=false")
	f.text(&o.echo, "echo", "", "time `LAW` that /echo takes, as --ttft; default 0")
	f.text(&o.model, "model", "", "`NAME` of the one model served; empty: any name")
	f.text(&o.keyEnv, "api-key-env", "", "`NAME` of the environment variable with the bearer key that requests must show")
	f.uint(&o.seed, "seed", 1, "seed `N` of every draw")
	f.number(&o.output, "output-tokens", d.OutputTokens, "length `N` of an answer whose request sets none")
	f.number(&o.context, "context", 0, "most tokens `N` of prompt and answer together; 0: the preset's")
	f.text(&o.role, "role", string(d.Role), "`WHERE` a streamed answer names its role: first, at-once (long before the first token) or none")
	f.number(&o.tokensPerEvent, "tokens-per-event", d.TokensPerEvent, "number `N` of tokens in each content event")
	f.number(&o.eventsPerWrite, "events-per-write", d.EventsPerWrite, "number `N` of content events written at once, as a coalescing proxy does")
	f.yes(&o.finishWithLast, "finish-with-last", "put the finish reason into the last content event")
	f.yes(&o.noUsage, "no-usage", "leave out the usage trailer though it was asked for")
	f.list(&o.faults, "fault", "what goes wrong, `FAULT` as reset:p=0.01,after=5 or freeze:for=1s,every=10s; repeatable; kinds: "+kinds())
	f.number(&o.requests, "requests", 0, "number `N` of requests whose instants GET /truth/requests lists one by one; 0: none")
	f.number(&o.meanInput, "mean-input", int(d.MeanInput), "number `N` of input tokens of a request that the printed capacity reckons with")
	f.number(&o.meanOutput, "mean-output", int(d.MeanOutput), "number `N` of output tokens likewise")
	return cmd
}

func kinds() string {
	names := make([]string, 0, len(sim.Kinds()))
	for _, k := range sim.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// config turns the flags into a configuration, or names all that is wrong with them.
func (o *simOptions) config(env func(string) (string, bool)) (sim.Config, error) {
	var problems []error
	c, err := sim.Preset(o.preset)
	if err != nil {
		return c, fmt.Errorf("--preset: %w", err)
	}
	c.Law, err = o.chooseLaw()
	problems = append(problems, err)
	for _, d := range []struct {
		flag, text string
		to         *sim.Distribution
	}{{"ttft", o.ttft, &c.Fixed.TTFT}, {"itl", o.itl, &c.Fixed.ITL}, {"echo", o.echo, &c.Echo}} {
		if d.text == "" {
			continue
		}
		v, err := sim.ParseDistribution(d.text)
		*d.to = v
		problems = append(problems, named(d.flag, err))
	}
	if o.batching != "" {
		c.Batching, err = sim.ParseBatching(c.Batching, o.batching)
		problems = append(problems, named("batching", err))
	}
	for _, text := range o.faults {
		f, err := sim.ParseFault(text)
		c.Faults = append(c.Faults, f)
		problems = append(problems, named("fault", err))
	}
	if o.keyEnv != "" {
		key, ok := env(o.keyEnv)
		if !ok || key == "" {
			problems = append(problems, fmt.Errorf("--api-key-env: the environment variable %s is not set or empty", o.keyEnv))
		}
		c.APIKey = key
	}
	if o.meanInput < 1 || o.meanOutput < 1 {
		problems = append(problems, errors.New("--mean-input and --mean-output: at least 1"))
	}
	c.Model, c.Seed, c.OutputTokens, c.Role = o.model, o.seed, o.output, sim.RoleMode(o.role)
	c.TokensPerEvent, c.EventsPerWrite, c.FinishWithLast, c.NoUsage = o.tokensPerEvent, o.eventsPerWrite, o.finishWithLast, o.noUsage
	c.Requests = o.requests
	c.MeanInput, c.MeanOutput = float64(o.meanInput), float64(o.meanOutput)
	if o.context != 0 {
		c.Context = o.context
	}
	return c, errors.Join(problems...)
}

func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

// chooseLaw takes the law from --law, or from the flags that go with one of them alone.
func (o *simOptions) chooseLaw() (sim.Law, error) {
	fixed, batching := o.ttft != "" || o.itl != "", o.batching != ""
	law := sim.Law(o.law)
	switch {
	case law == "" && fixed:
		law = sim.LawFixed
	case law == "":
		law = sim.LawBatching
	}
	switch {
	case law != sim.LawFixed && law != sim.LawBatching:
		return law, fmt.Errorf("--law %s: fixed or batching", law)
	case law == sim.LawFixed && batching:
		return law, errors.New("--batching does not go with the fixed law; leave out --ttft, --itl and --law, or --batching")
	case law == sim.LawBatching && fixed:
		return law, errors.New("--ttft and --itl go with --law fixed; with batching they follow from the load")
	}
	return law, nil
}

// serveSim serves until a signal comes.
func (a *app) serveSim(ctx context.Context, o *simOptions) error {
	c, err := o.config(a.env)
	if err != nil {
		return &failure{status: statusBadInput, err: err}
	}
	c.Log = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	listeners, err := o.listen()
	if err != nil {
		return err
	}
	server, err := sim.New(c)
	if err != nil {
		return &failure{status: statusBadInput, err: errors.Join(err, closeAll(listeners))}
	}
	a.announceSim(c, server, listeners)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, served := a.listen(), make(chan error, len(listeners))
	for i, listener := range listeners {
		serve := server.Serve
		if i > 0 {
			serve = server.ServeGRPC
		}
		go func() { served <- serve(ctx, listener) }()
	}
	var errs []error
	left := len(listeners)
	select {
	case err := <-served:
		errs, left = append(errs, err), left-1
	case <-signals:
	}
	cancel()
	for range left {
		errs = append(errs, <-served)
	}
	return errors.Join(errs...)
}

// listen opens the port for HTTP and, where it is asked for, that for gRPC.
func (o *simOptions) listen() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, one := range []struct{ flag, address string }{{"address", o.address}, {"grpc-address", o.grpcAddress}} {
		if one.address == "" && one.flag == "grpc-address" {
			continue
		}
		listener, err := net.Listen("tcp", one.address)
		if err != nil {
			err = fmt.Errorf("cannot listen: %w; choose another address: --%s 127.0.0.1:0 takes a free port", err, one.flag)
			return nil, errors.Join(err, closeAll(listeners))
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, listener := range listeners {
		errs = append(errs, listener.Close())
	}
	return errors.Join(errs...)
}

// announceSim prints where the simulator serves and what it can carry.
func (a *app) announceSim(c sim.Config, server *sim.Server, listeners []net.Listener) {
	model := c.Model
	if model == "" {
		model = quickSimModel
	}
	address := listeners[0].Addr()
	fmt.Fprintf(a.stdout, "simulated model endpoint at http://%s/v1\n", address)
	if len(listeners) > 1 {
		fmt.Fprintf(a.stdout, "by gRPC at grpc://%s: loadline.sim.v1.EchoService and GeneratorService\n", listeners[1].Addr())
	}
	fmt.Fprintln(a.stdout, server.Capacity())
	for _, f := range c.Faults {
		fmt.Fprintf(a.stdout, "fault %s\n", f)
	}
	fmt.Fprintf(a.stdout, "load it:  loadline run --url http://%s/v1 --model %s --rate 5 --duration 10s\nctrl-c ends it\n", address, model)
}
