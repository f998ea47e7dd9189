package main

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// grpcConnections is on how many connections the calls in flight are spread, the same for all tools.
const grpcConnections = 4

// nullProto is what the service for saturation looks like.
const nullProto = `syntax = "proto3";
package bench.v1;
message Request {
  string model = 1;
  string prompt = 2;
}
message Response {
  string id = 1;
  uint32 index = 2;
  string text = 3;
}
service Null {
  rpc Unary(Request) returns (Response);
  rpc Stream(Request) returns (stream Response);
}
`

// The messages: the request is what requestBody is over HTTP; the answer of a stream has 100 bytes.
const (
	grpcModel, grpcPrompt = "null", "Say something."
	grpcID                = "cmpl-8f14e45fceea167a5a36dedd4bea2543"
	grpcText              = "one token of an answer, as long as a few together may be"
	grpcRequestJSON       = `{"model":"` + grpcModel + `","prompt":"` + grpcPrompt + `"}`
)

func appendText(b []byte, field byte, text string) []byte {
	b = append(b, field<<3|2)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// grpcMessage puts the prefix of gRPC before a message.
func grpcMessage(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

func grpcRequest() []byte {
	return grpcMessage(appendText(appendText(nil, 1, grpcModel), 2, grpcPrompt))
}

// grpcResponse is one message of an answer: a short one where it is the only one.
func grpcResponse(unary bool) []byte {
	if unary {
		return grpcMessage(appendText(nil, 3, "ok"))
	}
	b := append(appendText(nil, 1, grpcID), 2<<3, 7)
	return grpcMessage(appendText(b, 3, grpcText))
}

func (k kind) method() string {
	if k.events > 0 {
		return "Stream"
	}
	return "Unary"
}

// grpcPeers are the tools for gRPC. h2load does not know gRPC: it sends the request's bytes over HTTP/2 and
// reads those of the answer, which is a floor.
func grpcPeers() []peer {
	return []peer{
		{name: "ghz", load: func(c call) []string { return ghzCommand(c, "-z", c.lasting.String()) },
			start: func(c call) []string { return ghzCommand(c, "-n", c.users()) }},
		{name: "loadline", load: func(c call) []string { return loadlineCommand(c, "load") },
			start: func(c call) []string { return loadlineCommand(c, "start") }, look: lookLoadline},
		{name: "h2load", load: func(c call) []string { return h2loadGRPC(c, "-D", c.seconds()) },
			start: func(c call) []string { return h2loadGRPC(c, "-n", c.users()) }},
	}
}

func ghzCommand(c call, more ...string) []string {
	line := []string{c.tool, "--insecure", "--proto", c.file("null.proto"), "--call", "bench.v1.Null/" + c.kind.method(),
		"-d", grpcRequestJSON, "-c", c.users(), "--connections", strconv.Itoa(grpcConnections)}
	return append(append(line, more...), c.host)
}

func h2loadGRPC(c call, more ...string) []string {
	line := []string{c.tool, "-t", "1", "-c", strconv.Itoa(grpcConnections), "-m", strconv.Itoa(c.kind.users / grpcConnections), "-d", c.file("call.bin"),
		"-H", "content-type: application/grpc", "-H", "te: trailers"}
	return append(append(line, more...), "http://"+c.host+"/bench.v1.Null/"+c.kind.method())
}

const loadlineGRPC = `name: grpc
targets: [{name: g, url: "grpc://%s", protocol: grpc, proto_files: [null.proto]}]
workloads:
  - name: call
    target: g
    grpc: {method: bench.v1.Null/%s, message: %s}
load: [{name: full, closed: {users: %d}, sessions: %d}]
`

func grpcScenario(c call, sessions uint64) string {
	return fmt.Sprintf(loadlineGRPC, c.host, c.kind.method(), grpcRequestJSON, c.kind.users, sessions)
}
