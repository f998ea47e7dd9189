package scenario

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Defaults of fields that were left out.
const (
	DefaultSeed            = 1
	DefaultTargetName      = "target"
	DefaultWorkloadName    = "workload"
	DefaultConnect         = 5 * time.Second
	DefaultStreams         = 100
	DefaultFirstToken      = 60 * time.Second
	DefaultStall           = 30 * time.Second
	DefaultTotal           = 10 * time.Minute
	DefaultIdle            = 15 * time.Second
	DefaultDrain           = 30 * time.Second
	DefaultMinAgents       = 1
	DefaultMaxAgents       = 1_000
	DefaultWait            = 30 * time.Second
	DefaultMaxInFlight     = 10_000
	DefaultMaxLateness     = 250 * time.Millisecond
	DefaultRecords         = 200
	DefaultAbortFor        = 10 * time.Second
	DefaultTokenLimitField = "max_tokens"
	DefaultMethod          = "GET"
	DefaultPath            = "/"
)

func clone(s *pb.Scenario) *pb.Scenario { return proto.Clone(s).(*pb.Scenario) }

// duration fills in a duration that was left out.
func duration(has bool, set func(*durationpb.Duration), d time.Duration) {
	if !has {
		set(durationpb.New(d))
	}
}

// value fills in a value that was left out.
func value[T any](has bool, set func(T), v T) {
	if !has {
		set(v)
	}
}

// Normalize fills in what was left out, so that nobody downstream knows a default. It parses
// objectives that have a text only. Running it again changes nothing.
func Normalize(s *pb.Scenario) {
	value(s.HasSeed(), s.SetSeed, DefaultSeed)
	duration(s.HasDrain(), s.SetDrain, DefaultDrain)
	value(s.HasPrecise(), s.SetPrecise, false)
	value(s.HasTagRequests(), s.SetTagRequests, true)
	normalizeLimits(s)
	if a := s.GetAgents(); s.HasAgents() {
		value(a.HasMin(), a.SetMin, DefaultMinAgents)
		value(a.HasMax(), a.SetMax, DefaultMaxAgents)
		duration(a.HasWait(), a.SetWait, DefaultWait)
	}
	normalizeObjectives(s)
	targets := s.GetTargets()
	for _, t := range targets {
		value(t.GetName() != "" || len(targets) > 1, t.SetName, DefaultTargetName)
		normalizeTarget(t)
	}
	for _, w := range s.GetWorkloads() {
		value(w.GetName() != "" || len(s.GetWorkloads()) > 1, w.SetName, DefaultWorkloadName)
		if len(targets) == 1 && w.GetTarget() == "" {
			w.SetTarget(targets[0].GetName())
		}
		normalizeWorkload(w)
	}
	for i, p := range s.GetLoad() {
		value(p.HasName(), p.SetName, fmt.Sprintf("phase-%d", i+1))
		value(p.HasDiscard(), p.SetDiscard, false)
		normalizeLoad(p)
	}
}

func normalizeLimits(s *pb.Scenario) {
	if !s.HasLimits() {
		s.SetLimits(&pb.Limits{})
	}
	l := s.GetLimits()
	value(l.HasMaxInFlight(), l.SetMaxInFlight, DefaultMaxInFlight)
	duration(l.HasMaxLateness(), l.SetMaxLateness, DefaultMaxLateness)
	if !s.HasCapture() {
		s.SetCapture(&pb.Capture{})
	}
	c := s.GetCapture()
	value(c.HasRecords(), c.SetRecords, DefaultRecords)
	value(c.HasBodies(), c.SetBodies, 0)
	if !c.GetWire() {
		c.ClearWire() // as it was before there was such a field, so that digests stay what they were
	}
}

func normalizeTarget(t *pb.Target) {
	if !t.HasTimeouts() {
		t.SetTimeouts(&pb.Timeouts{})
	}
	o := t.GetTimeouts()
	duration(o.HasConnect(), o.SetConnect, DefaultConnect)
	duration(o.HasFirstToken(), o.SetFirstToken, DefaultFirstToken)
	duration(o.HasStall(), o.SetStall, DefaultStall)
	duration(o.HasTotal(), o.SetTotal, DefaultTotal)
	normalizeConnections(t)
	if t.HasTls() {
		value(t.GetTls().GetMinVersion() != 0, t.GetTls().SetMinVersion, pb.TlsVersion_TLS_VERSION_TLS12)
		value(t.GetTls().HasInsecure(), t.GetTls().SetInsecure, false)
	}
	if isModel(t.GetProtocol()) {
		value(t.HasTokenLimitField(), t.SetTokenLimitField, DefaultTokenLimitField)
	}
}

func normalizeConnections(t *pb.Target) {
	if !t.HasConnections() {
		t.SetConnections(&pb.Connections{})
	}
	c := t.GetConnections()
	value(c.GetPolicy() != 0, c.SetPolicy, pb.ConnectionPolicy_CONNECTION_POLICY_REUSE)
	value(c.HasMax(), c.SetMax, 0)
	duration(c.HasIdle(), c.SetIdle, DefaultIdle)
	value(c.HasWarm(), c.SetWarm, 0)
	// http and streams stay absent, so that scenarios from before them keep their digest.
}

func normalizeWorkload(w *pb.Workload) {
	value(w.HasWeight(), w.SetWeight, 1)
	switch w.WhichContent() {
	case pb.Workload_Http_case:
		h := w.GetHttp()
		value(h.HasMethod(), h.SetMethod, DefaultMethod)
		value(h.HasPath(), h.SetPath, DefaultPath)
		normalizeDataset(h.GetDataset())
		return
	case pb.Workload_Grpc_case:
		g := w.GetGrpc()
		duration(g.HasEvery() || len(g.GetMessages()) == 0, g.SetEvery, 0)
		normalizeDataset(g.GetDataset())
	case pb.Workload_Synthetic_case:
		c := w.GetSynthetic()
		normalizeDistribution(c.GetInputTokens())
		normalizeDistribution(c.GetOutputTokens())
		if p := c.GetSharedPrefix(); p != nil {
			value(p.HasGroups(), p.SetGroups, 1)
		}
	case pb.Workload_Dataset_case:
		normalizeDataset(w.GetDataset())
	}
	value(w.HasStream(), w.SetStream, true)
}

func normalizeDataset(d *pb.Dataset) {
	if d == nil {
		return
	}
	value(d.GetOrder() != 0, d.SetOrder, pb.DatasetOrder_DATASET_ORDER_SEQUENTIAL)
	normalizeDistribution(d.GetOutputTokens())
}

func normalizeDistribution(d *pb.Distribution) {
	switch d.WhichLaw() {
	case pb.Distribution_Normal_case:
		value(d.GetNormal().HasMin(), d.GetNormal().SetMin, 1)
	case pb.Distribution_Lognormal_case:
		value(d.GetLognormal().HasMin(), d.GetLognormal().SetMin, 1)
	case pb.Distribution_Exponential_case:
		value(d.GetExponential().HasMin(), d.GetExponential().SetMin, 1)
	}
}

func normalizeLoad(p *pb.Phase) {
	if c := p.GetClosed(); c != nil {
		duration(c.HasRampUp(), c.SetRampUp, 0)
	}
	o := p.GetOpen()
	if o == nil {
		return
	}
	value(o.GetArrivals() != 0, o.SetArrivals, pb.Arrivals_ARRIVALS_CONSTANT)
	if k := o.GetSpike(); k != nil {
		duration(k.HasRise(), k.SetRise, 0)
		duration(k.HasFall(), k.SetFall, 0)
	}
}

// normalizeObjectives parses the objectives that have a text only, and writes the text of those
// that came as fields. What does not parse stays as it is; Check says why.
func normalizeObjectives(s *pb.Scenario) {
	for _, o := range s.GetSlo() {
		normalizeObjective(o, ParseObjective)
	}
	for _, o := range s.GetGood() {
		normalizeObjective(o, ParseGood)
	}
	for _, w := range s.GetWorkloads() {
		for _, o := range w.GetGood() {
			normalizeObjective(o, ParseGood)
		}
	}
	for _, a := range s.GetAbort() {
		normalizeAbort(a)
	}
}

func normalizeObjective(o *pb.Objective, parse func(string) (*pb.Objective, error)) {
	if o.GetExpression() == "" && o.GetAggregate() != 0 {
		o.SetExpression(FormatObjective(o))
		return
	}
	if o.GetAggregate() != 0 {
		return
	}
	if parsed, err := parse(o.GetExpression()); err == nil {
		proto.Merge(o, parsed)
	}
}

func normalizeAbort(a *pb.AbortCondition) {
	if a.GetExpression() == "" && a.HasCondition() {
		duration(a.HasFor(), a.SetFor, DefaultAbortFor)
		normalizeObjective(a.GetCondition(), ParseObjective)
		a.SetExpression(formatAbort(a))
	}
	if a.HasCondition() {
		return
	}
	if parsed, err := ParseAbort(a.GetExpression()); err == nil {
		proto.Merge(a, parsed)
	}
}

// isModel reports whether a protocol speaks of prompts and tokens.
func isModel(p pb.Protocol) bool {
	return p == pb.Protocol_PROTOCOL_OPENAI_CHAT || p == pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS
}
