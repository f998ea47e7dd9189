package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/cmd/loadline/term"
	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// quickDocument is the name of the scenario that flags make.
const quickDocument = "command line"

// runOptions are the flags of run.
type runOptions struct {
	flags  *flags
	quick  quickOptions
	sets   []string
	seed   uint64
	agents int
	out    string
	remote remoteOptions
	viewOptions
}

func (a *app) runCommand() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Run a scenario, in this process or on a coordinator's agents",
		Long: `Run a scenario and print its verdict. Without FILE the flags make the scenario; "-" reads it from standard input.

With --coordinator the agents of a cluster play it. The view and the exit status are the same, a connection that breaks is made
again, and the run folder is fetched at the end.

The run leaves a folder behind: the scenario, the plan, the journal of everything measured, and the results.
q or ctrl-c once: no new arrivals, what is in flight may end, full report. Twice: stop now. A third time: leave at once.
The exit status tells the verdict: 0 pass, 99 an objective failed, 98 not valid or too few values, 97 data missing,
104 bad scenario or flags, 105 stopped, 1 anything else.`,
		Example: `  loadline run examples/quickstart.yaml
  loadline run launch.yaml --set load[1].open.rate=80 --out runs/at-80
  loadline run --url http://127.0.0.1:8000/v1 --model m --rate 30 --duration 30s --slo 'p99(ttft) < 800ms'
  loadline run --url sim://small --users 8 --sessions 100
  loadline run --url http://127.0.0.1:8080/health --protocol http --rate 100 --json > summary.json
  loadline run launch.yaml --coordinator coordinator.example:7400 --tls-dir certs/clients/alice --agents 3`,
		RunE: action(func(ctx context.Context, args []string) error { return a.runScenario(ctx, o, args) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	o.flags = f
	f.text(&o.out, "out", "", "folder `DIR` that the run leaves behind (default runs/<id>)")
	f.number(&o.agents, "agents", 1, "number `N` of agents in this process; of a cluster: how many to wait for (default: those that are there)")
	f.list(&o.sets, "set", "override one field, `PATH=VALUE` as load[1].open.rate=80; repeatable")
	f.uint(&o.seed, "seed", 0, "seed `N` of everything random, over the scenario's")
	o.viewOptions.add(f)
	o.remote.add(f)
	o.quick.add(f)
	return cmd
}

func (q *quickOptions) add(f *flags) {
	f.text(&q.url, "url", "", "address `URL` of the target, instead of FILE; sim://small is the built-in simulator")
	f.text(&q.model, "model", "", "`NAME` of the model asked for")
	f.text(&q.protocol, "protocol", "", "`NAME` of the protocol: openai-chat (default), openai-completions, http or grpc")
	f.text(&q.rate, "rate", "", "number `N` of sessions started a second, whatever the target does")
	f.uint(&q.users, "users", 0, "number `N` of users, each starting a session when its last one has ended")
	f.duration(&q.duration, "duration", 0, "length `D` of the load, as 90s or 2m (default 30s unless --sessions is given)")
	f.uint(&q.sessions, "sessions", 0, "end after `N` sessions")
	f.text(&q.arrivals, "arrivals", "", "spacing `LAW` of --rate: constant (default) or poisson")
	f.text(&q.input, "input-tokens", "", "length `N` of prompts: 256 (default), 100-300, or a law as in a scenario")
	f.text(&q.output, "output-tokens", "", "length `N` of answers, likewise (default 128)")
	f.text(&q.method, "method", "", "`NAME` of the gRPC method, as package.Service/Method")
	f.list(&q.messages, "message", "request `JSON` of a gRPC call, an object; repeatable: a stream of them")
	f.list(&q.headers, "header", "header `'Name: value'` of every request, or 'Name: env:VARIABLE'; repeatable")
	f.list(&q.slo, "slo", "objective `EXPRESSION`, as 'p99(ttft) < 800ms'; repeatable")
	f.text(&q.save, "save", "", "keep the scenario that the flags make in a new `FILE`, and run it")
}

// runScenario is the command run.
func (a *app) runScenario(ctx context.Context, o *runOptions, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, log := a.listen(), &heldWriter{out: a.stderr}
	r, err := prepareInterruptibly(cancel, signals, func() (*preparedRun, error) { return a.prepare(ctx, o, args, log) })
	if err != nil {
		return err
	}
	return a.seeThrough(ctx, &o.viewOptions, r, signals, log)
}

// seeThrough shows a run until it has ended, fetches what it has left elsewhere, and gives its exit status.
func (a *app) seeThrough(ctx context.Context, o *viewOptions, r *preparedRun, signals <-chan os.Signal, log *heldWriter) error {
	summary, err := a.watchRun(ctx, o, r, signals, log)
	if errors.Is(err, errLeft) {
		return &failure{status: statusStopped, err: errors.New(r.whenLeft())}
	}
	var fetched error
	if err == nil && r.fetch != nil {
		fetched = r.fetch(ctx)
	}
	if err == nil {
		err = errors.Join(a.writeSummary(summary, r.folder, o.json, o.noColor), fetched)
	}
	a.wrapUp(r, signals)
	if err != nil {
		return err
	}
	return exit(int(summary.GetExitStatus()))
}

// whenLeft says what becomes of a run that is left before its end.
func (r *preparedRun) whenLeft() string {
	if r.fetch == nil {
		return "left at once; the journal is valid up to the last acknowledged second: loadline report " + r.folder
	}
	return "left at once; the coordinator sees the run through, and this takes up again: loadline watch " + r.id
}

// wrapUp ends what was started for the run, when everything has been said. A signal cuts it short.
func (a *app) wrapUp(r *preparedRun, signals <-chan os.Signal) {
	closed := make(chan error, 1)
	go func() { closed <- r.close() }()
	select {
	case err := <-closed:
		if err != nil {
			fmt.Fprintf(a.stderr, "loadline: %s\n", term.CleanLines(err.Error()))
		}
	case <-signals:
	}
}

// watchRun shows the run until it has ended.
func (a *app) watchRun(ctx context.Context, o *viewOptions, r *preparedRun, signals <-chan os.Signal, log *heldWriter) (*pb.Summary, error) {
	v := a.newView(ctx, o, r)
	if _, live := v.(*liveView); live {
		log.hold()
	}
	f := &follower{client: r.client, runID: r.id, view: v, signals: signals, pause: watchPause, patience: r.patience, onlyWatch: r.onlyWatch}
	summary, err := f.follow(ctx)
	closed := v.Close()
	log.release()
	if closed != nil {
		fmt.Fprintf(a.stderr, "loadline: live view: %v\n", closed)
	}
	return summary, err
}

// preparedRun is a run that is on record.
type preparedRun struct {
	scenario *pb.Scenario
	client   pb.ControlServiceClient
	files    pb.FileServiceClient // nil: the coordinator is in this process
	id       string
	folder   string // on this machine
	closers  []func() error

	// fetch brings what the run has left on the coordinator's machine into folder; nil: it is there already.
	fetch func(context.Context) error
	// patience is how long a coordinator that cannot be reached is tried again; 0: it is in this process.
	patience time.Duration
	// onlyWatch leaves the run alone when whoever watches leaves.
	onlyWatch bool
}

// close ends what was started for the run, the last first.
func (r *preparedRun) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	r.closers = nil
	return errors.Join(errs...)
}

// prepareInterruptibly prepares a run; a signal meanwhile ends the attempt, and a second one does not wait for that.
func prepareInterruptibly(cancel context.CancelFunc, signals <-chan os.Signal, prepare func() (*preparedRun, error)) (*preparedRun, error) {
	type outcome struct {
		run *preparedRun
		err error
	}
	prepared := make(chan outcome, 1)
	go func() {
		r, err := prepare()
		prepared <- outcome{r, err}
	}()
	stopped := &failure{status: statusStopped, err: errors.New("stopped before the run began")}
	select {
	case p := <-prepared:
		return p.run, p.err
	case <-signals:
		cancel()
	}
	select {
	case p := <-prepared:
		if p.run != nil {
			return nil, errors.Join(stopped, p.run.close())
		}
	case <-signals:
	}
	return nil, stopped
}

// prepare checks everything that can be checked before load starts, starts the cluster and puts the run on record.
func (a *app) prepare(ctx context.Context, o *runOptions, args []string, log *heldWriter) (r *preparedRun, err error) {
	doc, s, err := a.scenarioOf(o, args)
	if err != nil {
		return nil, err
	}
	if o.remote.coordinator != "" {
		return a.prepareRemote(ctx, o, doc, s)
	}
	if o.agents < 1 || o.agents > plan.MaxAgents {
		return nil, badInput("--agents %d: between 1 and %d in one process", o.agents, plan.MaxAgents)
	}
	if err := checkOut(o.out); err != nil {
		return nil, err
	}
	files, err := digestFiles(ctx, s, doc.baseDir)
	if err != nil {
		return nil, err
	}
	if err := checkSecrets(s, a.env); err != nil {
		return nil, err
	}
	if err := checkWorkloads(s, doc.baseDir, guard.Secrets(a.env, guard.ReadFile, &guard.Redactor{})); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r = &preparedRun{scenario: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
			r = nil
		}
	}()
	targets, err := startSimTargets(ctx, s, logger)
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, targets.close)
	client, stop, err := a.embedded(ctx, embeddedOptions{
		Agents: o.agents, Folder: o.out, Cores: a.cores, Env: a.env, Log: logger, Version: buildVersion().Version,
	})
	if err != nil {
		return r, err
	}
	r.client, r.closers = client, append(r.closers, stop)
	digest := scenario.Digest(s, files)
	started, err := client.StartRun(ctx, pb.StartRunRequest_builder{
		RequestId: rand.Text(), Scenario: s, Source: doc.data, BaseDir: doc.baseDir, Files: files, Agents: uint32(o.agents),
		Digest: hex.EncodeToString(digest[:]), Addresses: targets.addresses,
		Roofline: a.roofline(ctx, logger),
	}.Build())
	if err != nil {
		return r, fromService(err)
	}
	r.id, r.folder = started.GetRunId(), started.GetFolder()
	return r, nil
}

// checkOut refuses a run folder that something else occupies; the coordinator makes it.
func checkOut(folder string) error {
	entries, err := os.ReadDir(folder)
	switch {
	case folder == "" || errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return badInput("--out: %w", err)
	case len(entries) > 0:
		return badInput("--out %s: the folder is not empty; name one that is not there yet", folder)
	default:
		return nil
	}
}

// scenarioOf reads the scenario file, or makes the scenario that the flags describe.
func (a *app) scenarioOf(o *runOptions, args []string) (document, *pb.Scenario, error) {
	switch {
	case len(args) > 1:
		return document{}, nil, badInput("run takes one scenario file, and %d were given", len(args))
	case len(args) == 0:
		return a.quickScenario(o)
	}
	if misplaced := o.misplaced(); len(misplaced) > 0 {
		return document{}, nil, badInput("%s: only for a run without a scenario file; change %s itself, or use --set",
			strings.Join(misplaced, ", "), args[0])
	}
	return a.load(args[0], o.overrides())
}

// misplaced names the flags for quick runs that were given beside a file.
func (o *runOptions) misplaced() []string {
	var names []string
	for _, name := range quickFlags() {
		if o.flags.given(name) {
			names = append(names, "--"+name+" (or "+o.flags.variable(name)+")")
		}
	}
	return names
}

// overrides are those of --set, and the seed.
func (o *runOptions) overrides() []string {
	if !o.flags.given("seed") {
		return o.sets
	}
	return append(append([]string{}, o.sets...), fmt.Sprintf("seed=%d", o.seed))
}

// quickScenario makes the scenario from flags, and keeps it where --save says.
func (a *app) quickScenario(o *runOptions) (document, *pb.Scenario, error) {
	if o.quick.url == "" {
		return document{}, nil, badInput("say what to run: a scenario file, or --url with --rate or --users\nFor example: loadline run --url sim://small --rate 5 --duration 10s")
	}
	var seed *uint64
	if o.flags.given("seed") {
		seed = &o.seed
	}
	data, err := o.quick.document(seed)
	if err != nil {
		return document{}, nil, &failure{status: statusBadInput, err: err}
	}
	base, err := os.Getwd()
	if err != nil {
		return document{}, nil, err
	}
	doc := document{name: quickDocument, data: data, baseDir: base}
	s, err := doc.parse(o.sets)
	if err != nil {
		return doc, nil, nameFlags(err, quickDocument)
	}
	if o.quick.save == "" {
		return doc, s, nil
	}
	if len(o.sets) > 0 {
		data = scenario.Marshal(s)
	}
	return doc, s, saveScenario(o.quick.save, data)
}

// saveScenario writes a new file; one that is there already is never replaced.
func saveScenario(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return badInput("--save %s: there is such a file already; choose another name, or run it as it is: loadline run %s", path, path)
	}
	if err != nil {
		return badInput("--save: %w", err)
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("--save %s: %w", path, err)
	}
	return nil
}
