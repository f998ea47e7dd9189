package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// kind is one sort of work for all tools.
type kind struct {
	name, title string
	// events is how many an answer has, each how many are written at once; 0: a unary answer.
	events, each int
	// users is how many requests are in flight.
	users int
	// probe is how many sessions of loadline say how fast it is.
	probe uint64
	// protocol is what the server speaks.
	protocol string
}

const (
	protocolHTTP = "http"
	protocolGRPC = "grpc"
)

func kinds() []kind {
	return []kind{
		{"unary", "unary POST over HTTP/1.1", 0, 0, 64, 10000, protocolHTTP},
		{"stream20", "streamed events, 20 a write", 2000, 20, 16, 200, protocolHTTP},
		{"stream1", "streamed events, one a write", 2000, 1, 16, 100, protocolHTTP},
		{"grpc", "unary calls over gRPC", 0, 0, 64, 10000, protocolGRPC},
		{"grpc-stream", "messages of a server's stream over gRPC, 20 a write", 2000, 20, 16, 200, protocolGRPC},
	}
}

// unit is what is counted: requests, or token events.
func (k kind) unit() string {
	if k.events > 0 {
		return "event"
	}
	return "request"
}

// digits is how microseconds of CPU for one unit are shown.
func (k kind) digits() string {
	if k.events > 0 {
		return "%.3f"
	}
	return "%.2f"
}

func (k kind) units(c counts) uint64 {
	if k.events > 0 {
		return c.Events
	}
	return c.Requests
}

// peers are the tools that can be tried; ratios are to the first one.
func (k kind) peers() []peer {
	if k.protocol == protocolGRPC {
		return grpcPeers()
	}
	return peers()
}

// remark says what the tools do with the events.
func (k kind) remark() string {
	if k.protocol == protocolGRPC {
		return "loadline times every message and records the gaps; ghz decodes them; h2load reads the bytes."
	}
	return "Only loadline parses events and records their gaps; bare looks for their beginnings; the others read the bytes."
}

// call is what a command line is made of.
type call struct {
	kind kind
	// tool is the program; host is the server's address, url what is asked for.
	tool, host, url string
	// dir holds the files that command lines name.
	dir     string
	lasting time.Duration
	// sessions is how many loadline plays.
	sessions uint64
}

func (c call) users() string { return strconv.Itoa(c.kind.users) }

func (c call) seconds() string { return strconv.Itoa(int(c.lasting.Seconds())) }

func (c call) file(name string) string { return filepath.Join(c.dir, name) }

// peer is one tool as it is measured. A new kind of work adds its own lines to the functions here.
type peer struct {
	name string
	// load keeps kind.users requests in flight for lasting; nil arguments: it cannot do that kind.
	load func(c call) []string
	// start starts the tool and lets it do next to nothing: what it costs is taken off. Nil: the start
	// costs nothing worth it.
	start func(c call) []string
	env   []string
	// look reads what the tool says of itself. With it the exit status does not count: loadline ends
	// with others than 0 where it finds that the machine was too slow.
	look func(s *sample, c call, out []byte, failed error) error
}

func peers() []peer {
	return []peer{
		{name: "wrk", load: func(c call) []string {
			return []string{c.tool, "-t", "1", "-c", c.users(), "-d", c.seconds() + "s", "-s", c.file("post.lua"), c.url}
		}},
		{name: "bare", load: func(c call) []string {
			if c.kind.events == 0 {
				return nil
			}
			return []string{c.tool, bareCommand, c.host, c.users(), c.lasting.String()}
		}},
		{name: "loadline", load: func(c call) []string { return loadlineCommand(c, "load") },
			start: func(c call) []string { return loadlineCommand(c, "start") }, look: lookLoadline},
		{name: "oha", load: func(c call) []string { return ohaCommand(c, "-z", c.seconds()+"s") },
			start: func(c call) []string { return ohaCommand(c, "-n", c.users()) }},
		{name: "h2load", load: func(c call) []string { return h2loadCommand(c, "-D", c.seconds()) },
			start: func(c call) []string { return h2loadCommand(c, "-n", c.users()) }},
		{name: "hey", load: func(c call) []string { return heyCommand(c, "-z", c.lasting.String()) },
			start: func(c call) []string { return heyCommand(c, "-n", c.users()) }},
		{name: "vegeta", load: func(c call) []string {
			return []string{c.tool, "attack", "-targets", c.file("vegeta.txt"), "-rate", "0", "-max-workers", c.users(), "-workers", c.users(),
				"-connections", c.users(), "-duration", c.lasting.String(), "-output", os.DevNull}
		}},
		// k6 looks for nothing outside: no usage report, no extensions.
		{name: "k6", load: func(c call) []string { return k6Command(c, "--duration", c.lasting.String()) },
			start: func(c call) []string { return k6Command(c, "--iterations", c.users()) },
			env:   []string{"K6_NO_USAGE_REPORT=true", "K6_AUTO_EXTENSION_RESOLUTION=false"}},
	}
}

func ohaCommand(c call, more ...string) []string {
	return append(append([]string{c.tool, "-c", c.users(), "--no-tui", "-m", "POST", "-T", "application/json", "-d", requestBody}, more...), c.url)
}

func h2loadCommand(c call, more ...string) []string {
	return append(append([]string{c.tool, "--h1", "-t", "1", "-c", c.users(), "-d", c.file("body.json"), "-H", "content-type: application/json"}, more...), c.url)
}

func heyCommand(c call, more ...string) []string {
	return append(append([]string{c.tool, "-c", c.users(), "-m", "POST", "-T", "application/json", "-d", requestBody}, more...), c.url)
}

func k6Command(c call, more ...string) []string {
	return append(append([]string{c.tool, "run", "--quiet", "--no-summary", "--address", "", "--vus", c.users()}, more...), c.file("post.js"))
}

// requestBody is what every tool but loadline's model protocol posts.
const requestBody = `{"model":"null","prompt":"Say something.","n":1}`

const loadlineUnary = `name: unary
targets: [{name: api, url: "http://%s", protocol: http}]
workloads:
  - name: post
    target: api
    http: {method: POST, path: /, headers: {Content-Type: application/json}, body: '%s'}
load: [{name: full, closed: {users: %d}, sessions: %d}]
`

const loadlineStream = `name: stream
targets: [{name: api, url: "http://%s/v1", protocol: openai-chat, model: any}]
workloads:
  - name: chat
    target: api
    synthetic: {input_tokens: {fixed: 16}, output_tokens: {fixed: %d}}
load: [{name: full, closed: {users: %d}, sessions: %d}]
`

func loadlineCommand(c call, name string) []string {
	return []string{c.tool, "run", c.file(name + ".yaml"), "--quiet", "--json", "--out", c.file("out-" + name)}
}

func loadlineScenario(c call, sessions uint64) string {
	if c.kind.protocol == protocolGRPC {
		return grpcScenario(c, sessions)
	}
	if c.kind.events > 0 {
		return fmt.Sprintf(loadlineStream, c.host, c.kind.events, c.kind.users, sessions)
	}
	return fmt.Sprintf(loadlineUnary, c.host, requestBody, c.kind.users, sessions)
}

// files writes what the command lines name.
func (c call) files() error {
	for name, text := range map[string]string{
		"post.lua":   fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = '%s'\nwrk.headers[\"Content-Type\"] = \"application/json\"\n", requestBody),
		"body.json":  requestBody,
		"vegeta.txt": fmt.Sprintf("POST %s\nContent-Type: application/json\n@%s\n", c.url, c.file("body.json")),
		"post.js": fmt.Sprintf("import http from 'k6/http';\nexport const options = {discardResponseBodies: true};\n"+
			"export default function () { http.post('%s', '%s', {headers: {'Content-Type': 'application/json'}}); }\n", c.url, requestBody),
		"load.yaml":  loadlineScenario(c, c.sessions),
		"start.yaml": loadlineScenario(c, 1),
		"null.proto": nullProto,
		"call.bin":   string(grpcRequest()),
	} {
		if err := os.WriteFile(c.file(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// lookLoadline reads the summary: every session must have been answered and every series recorded.
func lookLoadline(s *sample, c call, out []byte, failed error) error {
	var sum summary
	if err := json.Unmarshal(out, &sum); err != nil {
		return errors.Join(fmt.Errorf("no summary: %w", err), failed)
	}
	if sum.Requests.Succeeded != c.sessions {
		return fmt.Errorf("%d of %d requests succeeded: run %s %s", sum.Requests.Succeeded, c.sessions, sum.State, strings.Join(sum.Reasons, "; "))
	}
	if got, want := sum.of("e2e").Count, c.sessions; got != want {
		return fmt.Errorf("%d of %d values of e2e recorded", got, want)
	}
	if got, want := sum.of("itl").Count, c.sessions*uint64(max(c.kind.events-1, 0)); got != want {
		return fmt.Errorf("%d of %d gaps recorded", got, want)
	}
	s.late = value(sum.of("lateness").P99)
	if !sum.Validity.Valid {
		s.notes = append(s.notes, "loadline says of itself: "+strings.Join(sum.Validity.Reasons, "; "))
	}
	return nil
}
