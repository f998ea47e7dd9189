package scenario

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// grpcURL checks the address of a gRPC service: host and port, nothing else.
func (c *checker) grpcURL(p *path, u *url.URL) {
	const form = "write it as grpc://127.0.0.1:9000, or grpcs:// for TLS"
	switch {
	case u.Scheme != "grpc" && u.Scheme != "grpcs":
		c.unless(p, "must begin with grpc://, grpcs:// or sim://", form, p, p.up.field("protocol"))
	case u.Hostname() == "":
		c.value(p, "has no host", form)
	case !validPort(u):
		c.value(p, "has a port outside 1…65535", "")
	case u.Scheme == "grpc" && u.Port() == "":
		c.value(p, "has no port, and gRPC without TLS has no usual one", form)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		c.value(p, "must end with its port: methods are named by the workloads", form)
	}
}

// described checks how a target's service is described, which only gRPC needs.
func (c *checker) described(at *path, t *pb.Target) {
	given := map[string]bool{
		"descriptor_set": t.HasDescriptorSet(), "proto_files": len(t.GetProtoFiles()) > 0,
		"import_paths": len(t.GetImportPaths()) > 0, "authority": t.HasAuthority(),
	}
	if t.GetProtocol() != pb.Protocol_PROTOCOL_GRPC {
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if given[name] {
				c.key(at.field(name), name+" is for protocol grpc", "leave it out")
			}
		}
		return
	}
	switch {
	case given["descriptor_set"] && given["proto_files"]:
		c.key(at.field("descriptor_set"), "descriptor_set and proto_files both describe the service", "keep one of the two")
	case given["import_paths"] && !given["proto_files"]:
		c.key(at.field("import_paths"), "import_paths are for the imports of proto_files", "add proto_files, or leave it out")
	}
	c.file(at.field("descriptor_set"), t.GetDescriptorSet())
	for i, name := range t.GetProtoFiles() {
		c.file(at.field("proto_files").index(i), name)
	}
	for i, name := range t.GetImportPaths() {
		c.file(at.field("import_paths").index(i), name)
	}
	if strings.Trim(t.GetAuthority(), headerChars+":[]") != "" {
		c.value(at.field("authority"), "is no host with an optional port", "write it as service.example.test:443")
	}
}

// grpc checks a call. Whether method and messages exist, only the service's description tells, which
// the agents read before the load.
func (c *checker) grpc(at *path, w *pb.Workload, protocol pb.Protocol, slots *slots) {
	p, g := at.field("grpc"), w.GetGrpc()
	if protocol != pb.Protocol_PROTOCOL_GRPC && protocol != pb.Protocol_PROTOCOL_UNSPECIFIED {
		c.beside(p, "grpc makes calls, and the workload's target speaks "+protocolName(protocol), "use a target with protocol: grpc")
	}
	if w.HasBody() {
		c.key(at.field("body"), "this body is merged into requests of the model protocols", "use grpc: {message: …}")
	}
	if service, method, ok := strings.Cut(strings.TrimPrefix(g.GetMethod(), "/"), "/"); g.GetMethod() != "" && (!ok || !isProtoName(service) || !isProtoName(method) || strings.Contains(method, ".")) {
		c.value(p.field("method"), quote(g.GetMethod())+" is not the name of a method", "write it as package.Service/Method")
	}
	if g.HasMessage() && len(g.GetMessages()) > 0 {
		c.key(p.field("messages"), "message and messages exclude each other", "keep one of the two")
	}
	if g.GetEvery().AsDuration() > 0 && len(g.GetMessages()) == 0 {
		c.key(p.field("every"), "every is the time between messages", "use messages: [{…}, {…}]")
	}
	c.message(p.field("message"), structpb.NewStructValue(g.GetMessage()), slots)
	for i, m := range g.GetMessages() {
		c.message(p.field("messages").index(i), structpb.NewStructValue(m), slots)
	}
	c.metadata(p.field("metadata"), g.GetMetadata(), slots)
	if g.HasDataset() {
		c.dataset(p.field("dataset"), g.GetDataset())
		if g.GetDataset().HasOutputTokens() {
			c.key(p.field("dataset").field("output_tokens"), "a gRPC call has no limit of tokens", "leave it out")
		}
	}
}

// message checks the placeholders in the strings of a message.
func (c *checker) message(p *path, v *structpb.Value, slots *slots) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		c.placeholders(p, kind.StringValue, slots)
	case *structpb.Value_ListValue:
		for i, element := range kind.ListValue.GetValues() {
			c.message(p.index(i), element, slots)
		}
	case *structpb.Value_StructValue:
		for _, name := range slices.Sorted(maps.Keys(kind.StructValue.GetFields())) {
			c.message(p.key(name), kind.StructValue.GetFields()[name], slots)
		}
	}
}

// isProtoName reports whether a text is a name of protobuf, with or without a package.
func isProtoName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part[0] >= '0' && part[0] <= '9' || strings.Trim(part, protoChars) != "" {
			return false
		}
	}
	return true
}

// protoChars are the characters of a name of protobuf.
const protoChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// metadata checks names and values as headers does, and what gRPC adds to that.
func (c *checker) metadata(p *path, values map[string]*pb.HeaderValue, slots *slots) {
	c.headers(p, values, slots)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if CheckHeaderName(name) != nil {
			continue
		}
		c.headerFault(c.key, p.key(name), CheckMetadataName(name))
		v := values[name].GetValue()
		if IsBinary(name) && !strings.Contains(v, "{{") {
			if _, err := DecodeBinary(v); err != nil {
				c.value(p.key(name), "must be base64, because its name ends in -bin", "such as AAECAw==")
			}
		}
	}
}

// CheckMetadataName says why a scenario may not set the metadata of this name, beyond what
// CheckHeaderName says; nil: it may. The error is of type *HeaderError.
func CheckMetadataName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case strings.Trim(lower, metadataChars) != "":
		return &HeaderError{quote(name) + " is not a name of metadata", "use letters, digits, hyphens, underscores and dots"}
	case strings.HasPrefix(lower, "grpc-"), lower == "content-type", lower == "user-agent", lower == "host":
		return &HeaderError{name + " is set by gRPC itself", "leave it out"}
	}
	return nil
}

const metadataChars = "abcdefghijklmnopqrstuvwxyz0123456789-_."

// IsBinary reports whether the metadata of this name holds bytes, written as base64.
func IsBinary(name string) bool { return strings.HasSuffix(strings.ToLower(name), "-bin") }

// DecodeBinary reads base64, padded or not.
func DecodeBinary(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}
