package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/cmd/loadline/trust"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Waits of an agent that joins.
const (
	// joinWait bounds one question for the way, joinPause is the pause between two.
	joinWait  = 5 * time.Second
	joinPause = time.Second
	// maxCapacity bounds the declared weight of an agent.
	maxCapacity = 1_000_000
)

// agentOptions are the flags of agent.
type agentOptions struct {
	remote    remoteOptions
	name      string
	labels    []string
	capacity  uint64
	results   string
	natsCreds string
	allow     []string
	secrets   []string
	rate      int
	inFlight  int
	cacheDir  string
	cacheMax  string
	cacheSize int64 // what cacheMax says, in bytes; config sets it
	metrics   string
	log       logOptions
}

func (a *app) agentCommand() *cobra.Command {
	o := &agentOptions{}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Play shares of a coordinator's runs, on this machine",
		Long: `Join a coordinator and play what it assigns, until a signal comes. The agent needs the coordinator's address and, where that has
TLS, its own credentials; it learns the rest. It tries again for as long as the coordinator cannot be reached.

What the agent may do is its owner's to say, and no coordinator widens it: where it sends load (--allow; without a list only to
loopback and private addresses), how much (--max-rate, --max-in-flight), and which secrets it resolves for whom (--secret). A
share beyond that is refused before the run starts, and whoever started it is told.

ctrl-c or SIGTERM once: leave in good order. Twice: leave at once. The exit status is 0 after the first, 105 after the second,
104 for flags or credentials that cannot be used, 1 for anything else.`,
		Example: `  loadline agent --coordinator 127.0.0.1:7400 --name a1
  loadline agent --coordinator coordinator.example:7400 --tls-dir certs/agents/a1 --label zone=a --allow model.example:443 --max-rate 5000
  loadline agent --coordinator 127.0.0.1:7400 --allow 10.0.0.0/8:8000 --secret MODEL_API_KEY=10.0.0.7:8000`,
		Args: noArguments,
		RunE: action(func(ctx context.Context, _ []string) error { return a.joinCluster(ctx, o) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	o.remote.add(f)
	f.text(&o.name, "name", "", "`NAME` of the agent, its own among all (default: that of the credentials, else of the machine)")
	f.list(&o.labels, "label", "label `KEY=VALUE` for the selection of agents; repeatable")
	f.uint(&o.capacity, "capacity", 0, "share `N` of the load relative to other agents; 0: the number of cores")
	f.text(&o.results, "results", "", "address `HOST:PORT` for results where it is another than the coordinator's")
	f.text(&o.natsCreds, "nats-creds", "", "`FILE` of credentials (.creds) or with the seed of an nkey, where NATS is not the coordinator's own")
	f.list(&o.allow, "allow", "where load may go, `HOST:PORT`, a name, an address or a range as 10.0.0.0/8:8000, the port perhaps *, or unix:/path; repeatable")
	f.number(&o.rate, "max-rate", guard.DefaultMaxRate, "most requests `N` a second, in every second")
	f.number(&o.inFlight, "max-in-flight", guard.DefaultMaxInFlight, "most requests `N` in flight")
	f.list(&o.secrets, "secret", "secret that may be resolved and where it may go, `VARIABLE=HOST:PORT` or file:/path=HOST:PORT; repeatable")
	f.text(&o.cacheDir, "cache-dir", "", "folder `DIR` of this agent alone, for the files of scenarios (default one in the user's cache folder)")
	f.text(&o.cacheMax, "cache-max", "10GiB", "most `SIZE` of the files of scenarios that are kept; what no run needs goes first")
	f.text(&o.metrics, "metrics-listen", "", metricsUsage)
	o.log.add(f)
	return cmd
}

// openCache opens the folder of the files that scenarios name. close removes it where it was made for this process alone.
func (o *agentOptions) openCache(name string) (cache *content.Store, close func() error, err error) {
	dir, close := o.cacheDir, func() error { return nil }
	if dir == "" {
		if user, err := os.UserCacheDir(); err == nil {
			dir = filepath.Join(user, "loadline", "agents", name+"@"+strings.ReplaceAll(o.remote.coordinator, ":", "_"))
		} else if dir, err = os.MkdirTemp("", "loadline-agent-*"); err != nil { // as in a container without a home
			return nil, nil, err
		} else {
			close = func() error { return os.RemoveAll(dir) }
		}
	}
	if cache, err = content.Open(dir, o.cacheSize); err != nil {
		return nil, nil, badInput("--cache-dir: %w", errors.Join(err, close()))
	}
	return cache, close, nil
}

// own turns the flags into what the owner allows, or names all that is wrong with them.
func (o *agentOptions) own() (*guard.Own, error) {
	own := &guard.Own{MaxRate: uint32(max(0, o.rate)), MaxInFlight: uint32(max(0, o.inFlight))}
	var problems []error
	if o.rate < 1 || o.rate > guard.MaxRate {
		problems = append(problems, fmt.Errorf("--max-rate %d: between 1 and %d", o.rate, guard.MaxRate))
	}
	if o.inFlight < 1 || o.inFlight > guard.MaxInFlight {
		problems = append(problems, fmt.Errorf("--max-in-flight %d: between 1 and %d", o.inFlight, guard.MaxInFlight))
	}
	for _, text := range o.allow {
		rule, err := guard.ParseAllow(text)
		own.Allow = append(own.Allow, rule)
		problems = append(problems, named("allow", err))
	}
	for _, text := range o.secrets {
		grant, err := guard.ParseGrant(text)
		own.Secrets = append(own.Secrets, grant)
		problems = append(problems, named("secret", err))
	}
	return own, errors.Join(problems...)
}

// config is that of the agent, without what it learns by joining.
func (o *agentOptions) config(a *app, own *trust.Credentials) (agent.Config, error) {
	limits, limitsErr := o.own()
	c := agent.Config{
		Name: o.name, Version: buildVersion().Version, Cores: a.cores, Capacity: uint32(min(o.capacity, maxCapacity)),
		Labels: map[string]string{}, Env: a.env, Own: limits,
	}
	size, sizeErr := parseSize("cache-max", o.cacheMax)
	o.cacheSize = size
	problems := []error{limitsErr, sizeErr, checkMetricsListener(o.metrics)}
	if o.capacity > maxCapacity {
		problems = append(problems, fmt.Errorf("--capacity %d: at most %d", o.capacity, maxCapacity))
	}
	for _, text := range o.labels {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			problems = append(problems, fmt.Errorf("--label %q: write KEY=VALUE", text))
		}
		c.Labels[key] = value
	}
	switch {
	case own != nil && o.name != "" && o.name != own.Identity.Name:
		problems = append(problems, fmt.Errorf("--name %s: the credentials are those of %s; leave --name out, or make credentials with: loadline certs agent %s", o.name, own.Identity, o.name))
	case own != nil:
		c.Name = own.Identity.Name
	case o.name == "":
		c.Name = machineName()
	}
	problems = append(problems, named("name", trust.Identity{Role: trust.Agent, Name: c.Name}.Check()))
	return c, errors.Join(problems...)
}

// machineName makes a name for an agent of that of its machine.
func machineName() string {
	host, _ := os.Hostname() // without one the name is the same everywhere, and the coordinator says so
	host = strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._-]`).ReplaceAllString(host, "-"), "-._")
	return cmp.Or(host[:min(len(host), 64)], "agent")
}

// joinCluster is the command agent.
func (a *app) joinCluster(ctx context.Context, o *agentOptions) error {
	log, logErr := o.log.logger(a.stderr)
	conn, own, err := o.remote.dial(trust.Agent)
	if err != nil {
		return badInput("%w", errors.Join(err, logErr))
	}
	config, configErr := o.config(a, own)
	if err := errors.Join(logErr, configErr); err != nil {
		return badInput("%w", errors.Join(err, conn.Close()))
	}
	warnOfEnd(log, own, time.Now())
	config.Log = log
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, ended := a.listen(), make(chan error, 1)
	go func() { ended <- errors.Join(a.live(ctx, o, config, conn, own), conn.Close()) }()
	for told := 0; ; {
		select {
		case err := <-ended:
			return err
		case <-signals:
		}
		if told++; told > 1 {
			return &failure{status: statusStopped, err: errors.New("left at once; the coordinator counts what was in flight as lost")}
		}
		log.Info("told to end: leaving; another signal leaves at once")
		cancel()
	}
}

// live is an agent's life: it asks the way, connects to the bus, and plays until ctx ends.
func (a *app) live(ctx context.Context, o *agentOptions, config agent.Config, conn *grpc.ClientConn, own *trust.Credentials) (ended error) {
	way, err := askTheWay(ctx, pb.NewJoinServiceClient(conn), config, o.remote.coordinator)
	if err != nil || way == nil {
		return err
	}
	if config.Bus, err = joinBus(ctx, o, config, way, own); err != nil || config.Bus == nil {
		return err
	}
	defer config.Bus.Close()
	results, err := o.resultsConn(conn, own)
	if err != nil {
		return err
	}
	config.Results, config.Files = pb.NewResultsServiceClient(results), pb.NewFileServiceClient(conn)
	cache, closeCache, err := o.openCache(config.Name)
	if err != nil {
		return err
	}
	config.Cache = cache
	defer func() { ended = errors.Join(ended, closeCache()) }()
	joined, err := agent.New(config)
	if err != nil {
		return err
	}
	metrics, err := serveMetrics(o.metrics, func() []sample { return agentSamples(joined.Counts()) })
	if err != nil {
		return err
	}
	defer metrics.close()
	metrics.announce(a.stdout)
	fmt.Fprintf(a.stdout, "agent %s of the coordinator at %s\n", config.Name, o.remote.coordinator)
	leaving := context.AfterFunc(ctx, joined.Leave) // its share goes to the others, and its results are handed over
	err = joined.Run(context.WithoutCancel(ctx))
	leaving()
	if results != conn {
		err = errors.Join(err, results.Close())
	}
	return err
}

// resultsConn is the connection for results: the coordinator's, or one to another address.
func (o *agentOptions) resultsConn(conn *grpc.ClientConn, own *trust.Credentials) (*grpc.ClientConn, error) {
	if o.results == "" {
		return conn, nil
	}
	other := remoteOptions{coordinator: o.results, tlsDir: o.remote.tlsDir}
	results, _, err := other.dial(trust.Agent)
	return results, named("results", err)
}

// askTheWay asks the coordinator where the bus is, until it answers or ctx ends; nil without an error: it has ended.
func askTheWay(ctx context.Context, entrance pb.JoinServiceClient, config agent.Config, address string) (*pb.JoinResponse, error) {
	for {
		call, cancel := context.WithTimeout(ctx, joinWait)
		way, err := entrance.Join(call, pb.JoinRequest_builder{Agent: config.Name, Version: config.Version}.Build())
		cancel()
		switch {
		case err == nil:
			return way, nil
		case ctx.Err() != nil:
			return nil, nil
		case credentialsRefused(err):
			return nil, fromRemote(err, address)
		}
		config.Log.Warn("the coordinator does not answer; trying again", "coordinator", address, "error", plainError(err))
		if !pause(ctx, joinPause) {
			return nil, nil
		}
	}
}

// joinBus connects to the bus, until that succeeds or ctx ends; nil without an error: it has ended.
func joinBus(ctx context.Context, o *agentOptions, config agent.Config, way *pb.JoinResponse, own *trust.Credentials) (*bus.Conn, error) {
	url, err := busURL(o.remote.coordinator, way, own != nil)
	if err != nil {
		return nil, err
	}
	options, err := busOptions(own, o.natsCreds)
	if way.GetBusPort() != 0 && own != nil {
		options = []bus.Option{bus.WithTLS(own.Dial())}
	}
	if err != nil {
		return nil, badInput("--nats-creds: %w", err)
	}
	for {
		conn, err := bus.Connect(url, config.Name, config.Log, options...)
		if err == nil {
			return conn, nil
		}
		config.Log.Warn("the bus cannot be reached; trying again", "bus", url, "error", err)
		if !pause(ctx, joinPause) {
			return nil, nil
		}
	}
}

// busURL is the address of the bus. The coordinator's word cannot make the agent talk to another machine in the clear.
func busURL(coordinator string, way *pb.JoinResponse, secured bool) (string, error) {
	if way.GetBusTls() && !secured { // as behind a proxy that ends TLS: the bus would only drop the connection, again and again
		return "", badInput("the coordinator's bus takes TLS alone, and this agent has no credentials: give it a folder of them with --tls-dir, made with: loadline certs agent NAME")
	}
	if way.GetBusPort() != 0 {
		host, _, err := net.SplitHostPort(coordinator)
		return "nats://" + net.JoinHostPort(host, strconv.Itoa(int(way.GetBusPort()))), err
	}
	for _, url := range way.GetBusUrls() {
		if err := checkBusURL("the coordinator's bus", url, secured); err != nil {
			return "", badInput("%w", err)
		}
	}
	if len(way.GetBusUrls()) == 0 {
		return "", errors.New("the coordinator does not say where the bus is: use builds of one version")
	}
	return strings.Join(way.GetBusUrls(), ","), nil
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
