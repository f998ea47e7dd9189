package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	maxUsers = 4096
	// overtime is what a tool may take above its time, its start included.
	overtime = 30 * time.Second
	// full is the share of its time at which the server counts as the limit.
	full = 0.97
)

// sample is one tool in one round.
type sample struct {
	perSecond float64
	// cpu is the client's CPU for one unit, in seconds, its start taken off.
	cpu float64
	// peak is in bytes.
	peak float64
	// busy is the share of its CPU time in which the server had work, serves its CPU for one unit, in
	// seconds.
	busy, serves float64
	// late is the 99th percentile of lateness in microseconds; NaN: the tool does not say.
	late  float64
	notes []string
}

func (s sample) rate() float64 { return s.perSecond }

func (s sample) each() float64 { return s.cpu }

// comparison is one invocation.
type comparison struct {
	b       *bench
	rounds  int
	lasting time.Duration
	found   map[string]found
	wanted  func(string) bool
	// sessions is what loadline plays of the kind under way, enough for lasting.
	sessions       uint64
	client, server place
}

// runPeers holds loadline against the tools of others: every tool confined to one core, a server that
// is faster than any of them confined to another, the tools in turn in every round. What was sent and
// in which time is counted by the server, the same way for all.
func runPeers(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	rounds := fs.Int("rounds", 3, "rounds, each with every tool once")
	lasting := fs.Duration("for", 4*time.Second, "length of full load of one tool, whole seconds")
	only := fs.String("only", "", "tools, by comma (default all)")
	which := fs.String("kinds", "", "kinds of work, by comma: unary, stream20, stream1, grpc, grpc-stream (default all)")
	install := fs.Bool("install", false, "install what is missing: with go and cargo below the user's cache, with apt-get if root")
	together := fs.Bool("one-core", false, "server and client on one core: the reader of a stream is then the limit; CPU alone says something")
	wait := fs.Duration("wait", 0, "longest wait for a machine that is not busy, before each kind; 0: measure at once")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *wait < 0 || *wait > longest/2 {
		return fmt.Errorf("flag out of range: --wait 0 to %v", longest/2)
	}
	if *rounds < 1 || *rounds > 20 || *lasting < time.Second || *lasting > time.Minute || *lasting%time.Second != 0 {
		return errors.New("flags out of range: --rounds 1 to 20, --for 1s to 1m in whole seconds")
	}
	if err := known(*only, *which); err != nil {
		return err
	}
	core := oneCore()
	if core.taskset == "" {
		return errors.New("needs taskset and two cores: one for the server, one for the client")
	}
	c := &comparison{b: b, rounds: *rounds, lasting: *lasting, wanted: chosen(*only), client: core, server: core}
	if !*together {
		c.server.core = runtime.NumCPU() - 1
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := c.prepare(ctx, *install); err != nil {
		return err
	}
	want := chosen(*which)
	for _, k := range kinds() {
		if !want(k.name) {
			continue
		}
		if *wait > 0 {
			if err := awaitQuiet(ctx, *wait); err != nil {
				return err
			}
		}
		if err := c.measure(ctx, k); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// known refuses names of tools and kinds of work that there are not.
func known(only, which string) error {
	var tools, work []string
	for _, k := range kinds() {
		work = append(work, k.name)
		for _, p := range k.peers() {
			if !slices.Contains(tools, p.name) {
				tools = append(tools, p.name)
			}
		}
	}
	var wrong error
	check := func(flag, list string, names []string) {
		for _, name := range split(list) {
			if !slices.Contains(names, name) {
				wrong = errors.Join(wrong, fmt.Errorf("--%s: there is no %q; there are %s", flag, name, strings.Join(names, ", ")))
			}
		}
	}
	check("only", only, tools)
	check("kinds", which, work)
	return wrong
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// chosen says whether a name is in a list; an empty list has all.
func chosen(list string) func(string) bool {
	names := split(list)
	return func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
}

// prepare gathers the tools, ourselves among them.
func (c *comparison) prepare(ctx context.Context, install bool) error {
	folder, err := peersFolder()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.found = c.b.gather(ctx, folder, install, c.wanted)
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = nil // not a clone
	}
	c.found["loadline"] = found{c.b.binary, strings.TrimSpace(string(commit))}
	c.found["bare"] = found{self, strings.TrimPrefix(runtime.Version(), "go")}
	return nil
}

// measure does all rounds of one kind and prints them.
func (c *comparison) measure(ctx context.Context, k kind) error {
	var all []peer
	for _, p := range k.peers() {
		if _, ok := c.found[p.name]; ok && c.wanted(p.name) && p.load(call{kind: k}) != nil {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return errors.New("none of the tools chosen is there and can do it")
	}
	if err := c.calibrate(ctx, k, all); err != nil {
		return err
	}
	before, samples := loadAverage(), map[string][]sample{}
	for round := range c.rounds {
		for i := range all {
			// Every round begins with another tool, so that none always follows the same one.
			p := all[(i+round)%len(all)]
			s, err := c.once(ctx, k, p)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(c.b.out, "%s, round %d: %v\n", p.name, round+1, err)
				continue
			}
			samples[p.name] = append(samples[p.name], s)
		}
	}
	fmt.Fprintf(c.b.out, "\n%s, %d in flight, %d rounds of %v; %s before\n", k.title, k.users, c.rounds, c.lasting, before)
	printPeers(c.b.out, k, all, c.found, samples)
	if c.sessions > 0 && len(samples["loadline"]) == 0 {
		return errors.New("no round of loadline can be counted")
	}
	return nil
}

// calibrate looks how many sessions loadline plays in the time of the others.
func (c *comparison) calibrate(ctx context.Context, k kind, all []peer) error {
	for _, p := range all {
		if p.name != "loadline" {
			continue
		}
		c.sessions = k.probe
		s, err := c.once(ctx, k, p)
		if err != nil {
			return err
		}
		perSession := float64(max(k.events, 1))
		c.sessions = max(uint64(s.perSecond/perSession*c.lasting.Seconds()), k.probe/10)
	}
	return nil
}

// once measures one tool: its start alone, where that costs something, and then full load.
func (c *comparison) once(ctx context.Context, k kind, p peer) (sample, error) {
	s := sample{late: math.NaN()}
	var startCPU time.Duration
	var startCounts counts
	if p.start != nil {
		took, n, _, err := c.play(ctx, k, p, p.start)
		if err != nil {
			return s, fmt.Errorf("its start: %w", err)
		}
		startCPU, startCounts = took.cpu, n
	}
	took, n, asked, err := c.play(ctx, k, p, p.load)
	if err != nil {
		return s, err
	}
	units, started := k.units(n), k.units(startCounts)
	if units <= started || n.span() <= 0 {
		return s, fmt.Errorf("the server counted %d %ss", units, k.unit())
	}
	s.perSecond = float64(units) / n.span().Seconds()
	s.cpu = (took.cpu - startCPU).Seconds() / float64(units-started)
	s.peak, s.busy, s.serves = float64(took.peak), n.busy(), float64(n.Busy)/1e9/float64(units)
	if p.look != nil {
		err = p.look(&s, asked, took.out, took.failed)
	}
	return s, err
}

// play runs one command line of a tool against a server of its own.
func (c *comparison) play(ctx context.Context, k kind, p peer, line func(call) []string) (spent, counts, call, error) {
	dir, err := os.MkdirTemp(c.b.dir, "peer-")
	if err != nil {
		return spent{}, counts{}, call{}, err
	}
	defer os.RemoveAll(dir)
	server, err := c.b.saturate(ctx, k, c.lasting+2*overtime, c.server)
	if err != nil {
		return spent{}, counts{}, call{}, err
	}
	asked := call{kind: k, tool: c.found[p.name].path, host: server.host, dir: dir, lasting: c.lasting, sessions: c.sessions}
	asked.url = "http://" + server.host + "/v1/chat/completions"
	var took spent
	if err = asked.files(); err == nil {
		took, err = c.b.spend(ctx, line(asked), p.env, c.client, c.lasting+overtime)
	}
	if p.look == nil {
		err = errors.Join(err, took.failed)
	}
	n, stopErr := server.stop()
	return took, n, asked, errors.Join(err, stopErr)
}

// spread is the median of some rounds with the extremes.
type spread struct{ median, low, high float64 }

func spreadOf(samples []sample, of func(sample) float64) spread {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	if len(v) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return spread{middle(v), v[0], v[len(v)-1]}
}

// middle is the median of sorted values, of which there is at least one.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// show prints median and extremes in units of scale.
func (s spread) show(format string, scale float64) string {
	return fmt.Sprintf(format+" ("+format+"–"+format+")", s.median*scale, s.low*scale, s.high*scale)
}

func printPeers(w io.Writer, k kind, all []peer, tools map[string]found, samples map[string][]sample) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	first := all[0].name
	fmt.Fprintf(t, "tool\tversion\t%[1]ss/s\tof %[2]s\tµs of CPU each\tof %[2]s\tper CPU second\tpeak MB\tserver µs each\tbusy\tlateness p99\t\n", k.unit(), first)
	baseRate, baseCPU := spreadOf(samples[first], sample.rate).median, spreadOf(samples[first], sample.each).median
	var notes []string
	for _, p := range all {
		own := samples[p.name]
		if len(own) == 0 {
			continue
		}
		r, c := spreadOf(own, sample.rate), spreadOf(own, sample.each)
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%s\t%.2f\t%.0f\t%.0f\t%s\t%s\t%s\t\n", p.name, tools[p.name].version, r.show("%.0f", 1), r.median/baseRate,
			c.show(k.digits(), 1e6), c.median/baseCPU, 1/c.median, spreadOf(own, func(s sample) float64 { return s.peak }).median/1e6,
			fmt.Sprintf(k.digits(), 1e6*spreadOf(own, func(s sample) float64 { return s.serves }).median), showBusy(own), row{unit: "ms"}.show(spreadOf(own, func(s sample) float64 { return s.late }).median))
		for _, s := range own {
			notes = append(notes, s.notes...)
		}
	}
	t.Flush()
	slices.Sort(notes)
	for _, n := range slices.Compact(notes) {
		fmt.Fprintln(w, n)
	}
	if k.events > 0 {
		fmt.Fprintln(w, k.remark())
	}
}

func showBusy(own []sample) string {
	busy := spreadOf(own, func(s sample) float64 { return s.busy }).median
	if busy > full {
		return fmt.Sprintf("%.0f %% FULL", 100*busy)
	}
	return fmt.Sprintf("%.0f %%", 100*busy)
}
