package scenario

import (
	"fmt"
	"strings"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func (c *checker) eachWorkload() {
	workloads := c.s.GetWorkloads()
	for i, w := range workloads {
		at := (*path)(nil).field("workloads").index(i)
		c.unique(c.workloads, at, i, w.GetName(), "workload", len(workloads) > 1)
		c.target(at, w)
		c.content(at, w)
		for j, k := range w.GetChecks() {
			if path := k.GetJsonPath(); path != nil {
				_, err := ParseJSONPath(path.GetPath())
				c.expression(at.field("checks").index(j).field("json_path").field("path"), err)
			}
		}
	}
}

func (c *checker) target(at *path, w *pb.Workload) {
	switch {
	case w.GetTarget() != "":
		c.known(c.targets, at.field("target"), w.GetTarget(), "target")
	case !c.unsure["target"]:
		c.value(at.field("target"), "is missing", "with several targets, each workload names its own")
	}
}

// content checks what is sent, and that the target speaks that language.
func (c *checker) content(at *path, w *pb.Workload) {
	protocol := pb.Protocol_PROTOCOL_UNSPECIFIED
	if i, ok := c.targets[w.GetTarget()]; ok {
		protocol = c.s.GetTargets()[i].GetProtocol()
	}
	slots := &slots{}
	switch w.WhichContent() {
	case pb.Workload_Synthetic_case:
		c.needsModel(at.field("synthetic"), "synthetic", protocol)
		s := w.GetSynthetic()
		c.distribution(at.field("synthetic").field("input_tokens"), s.GetInputTokens())
		c.distribution(at.field("synthetic").field("output_tokens"), s.GetOutputTokens())
	case pb.Workload_Dataset_case:
		slots.row = true
		c.needsModel(at.field("dataset"), "dataset", protocol)
		c.dataset(at.field("dataset"), w.GetDataset())
	case pb.Workload_Http_case:
		slots.row = w.GetHttp().HasDataset()
		c.http(at, w, protocol, slots)
	case pb.Workload_Grpc_case:
		slots.row = w.GetGrpc().HasDataset()
		c.grpc(at, w, protocol, slots)
	}
	if w.HasGrpc() {
		c.metadata(at.field("headers"), w.GetHeaders(), slots)
	} else {
		c.headers(at.field("headers"), w.GetHeaders(), slots)
	}
}

func (c *checker) needsModel(p *path, what string, protocol pb.Protocol) {
	switch protocol {
	case pb.Protocol_PROTOCOL_HTTP:
		c.beside(p, what+" makes prompts, and the workload's target speaks http", "use http: {path: …}, or a target with protocol: openai-chat")
	case pb.Protocol_PROTOCOL_GRPC:
		c.beside(p, what+" makes prompts, and the workload's target speaks grpc", "use grpc: {method: …}, or a target with protocol: openai-chat")
	}
}

func (c *checker) http(at *path, w *pb.Workload, protocol pb.Protocol, slots *slots) {
	p, h := at.field("http"), w.GetHttp()
	switch {
	case isModel(protocol):
		c.beside(p, "http makes plain requests, and the workload's target speaks "+protocolName(protocol), "use synthetic or dataset, or a target with protocol: http")
	case protocol == pb.Protocol_PROTOCOL_GRPC:
		c.beside(p, "http makes plain requests, and the workload's target speaks grpc", "use grpc: {method: …}, or a target with protocol: http")
	}
	if w.HasBody() {
		c.key(at.field("body"), "this body is merged into requests of the model protocols", "use http: {body: …}")
	}
	c.headers(p.field("headers"), h.GetHeaders(), slots)
	_, err := ParseRequestPath(h.GetPath(), slots.row)
	c.expression(p.field("path"), err)
	c.placeholders(p.field("body"), h.GetBody(), slots)
	if h.HasBodyFile() {
		c.file(p.field("body_file"), h.GetBodyFile())
	}
	if h.HasDataset() {
		c.dataset(p.field("dataset"), h.GetDataset())
	}
	seen := map[uint32]bool{}
	for i, status := range h.GetExpectStatus() {
		if seen[status] {
			c.value(p.field("expect_status").index(i), fmt.Sprintf("%d stands in the list already", status), "")
		}
		seen[status] = true
	}
}

func (c *checker) dataset(p *path, d *pb.Dataset) {
	c.file(p.field("file"), d.GetFile())
	c.distribution(p.field("output_tokens"), d.GetOutputTokens())
}

// file refuses names that no file has.
func (c *checker) file(p *path, name string) {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		c.value(p, "holds control characters", "")
	}
}

// distribution checks what the values of a law must be to each other.
func (c *checker) distribution(p *path, d *pb.Distribution) {
	atLeast := func(at *path, field, other string, v, least float64) {
		if v < least {
			c.unless(at.field(field), "must be at least "+other+" ("+thousands(least)+"), got "+thousands(v), "", at.field(field), at.field(other))
		}
	}
	switch d.WhichLaw() {
	case pb.Distribution_Uniform_case:
		u := d.GetUniform()
		atLeast(p.field("uniform"), "max", "min", u.GetMax(), u.GetMin())
	case pb.Distribution_Normal_case:
		n := d.GetNormal()
		if n.HasMax() {
			atLeast(p.field("normal"), "max", "min", n.GetMax(), n.GetMin())
		}
	case pb.Distribution_Lognormal_case:
		l := d.GetLognormal()
		atLeast(p.field("lognormal"), "p95", "median", l.GetP95(), l.GetMedian())
		if l.HasMax() {
			atLeast(p.field("lognormal"), "max", "min", l.GetMax(), l.GetMin())
		}
	case pb.Distribution_Exponential_case:
		e := d.GetExponential()
		if e.HasMax() {
			atLeast(p.field("exponential"), "max", "min", e.GetMax(), e.GetMin())
		}
	}
}
