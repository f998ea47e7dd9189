package scenario_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
)

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(scenario.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree reads YAML as an editor's validator does.
func tree(t testing.TB, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Load(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchemaAcceptsExamples(t *testing.T) {
	schema := compiledSchema(t)
	for _, file := range examples(t) {
		if err := schema.Validate(tree(t, readFile(t, file))); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}

// What Marshal writes, and so everything that Parse takes in its usual spelling, fulfils the schema.
func TestSchemaAcceptsEveryScenario(t *testing.T) {
	schema := compiledSchema(t)
	rapid.Check(t, func(r *rapid.T) {
		s := randomScenario(r)
		scenario.Normalize(s)
		if err := schema.Validate(tree(t, scenario.Marshal(s))); err != nil {
			r.Fatalf("%v\n%s", err, scenario.Marshal(s))
		}
	})
}

// smallest is the smallest scenario; the rows below replace one part of it.
const smallest = `
name: a
targets: [{url: "http://127.0.0.1", protocol: http}]
workloads: [{http: {path: /p}}]
load: [{open: {rate: 5}, duration: 1m}]
`

// Single fields: how they may be written. Reader and schema agree on every row, except that the
// schema leaves ranges of durations and of suffixed numbers to the reader.
var fieldCases = []struct {
	set string
	ok  bool
}{
	{"seed=0", true}, {"seed=18446744073709551615", true}, {"seed=18446744073709551616", false}, {"seed=-1", false}, {"seed=1.5", false},
	{"seed=1e3", true}, {"seed=2k", true}, {"seed=1.5k", true}, {`seed="1"`, false}, {"seed=one", false}, {"seed=[1]", false}, {"seed={a: 1}", false},
	{"seed=true", false}, {"seed=null", false}, {"seed=1m", false}, {"seed=.inf", false},
	{"load[0].open.rate=0.5", true}, {"load[0].open.rate=0", false}, {"load[0].open.rate=-1", false}, {"load[0].open.rate=1000001", false},
	{"load[0].open.rate=1.5k", true}, {"load[0].open.rate=5%", false}, {"load[0].open.rate=.nan", false}, {"load[0].open.rate=5/s", false},
	{"load[0].duration=90s", true}, {"load[0].duration=1m30s", true}, {"load[0].duration=1d12h", true}, {"load[0].duration=0.5h", true},
	{"load[0].duration=250ms", true}, {"load[0].duration=90", false}, {"load[0].duration=0", false}, {"load[0].duration=1.5", false},
	{"load[0].duration=1y", false}, {"load[0].duration=s", false}, {`load[0].duration="1m 30s"`, false}, {"load[0].duration=[1s]", false},
	{"load[0].duration=", false}, {"load[0].sessions=10", true}, {"load[0].sessions=0", false}, {"load[0].at=0s", true},
	{"load[0].discard=true", true}, {"load[0].discard=yes", false}, {`load[0].discard="true"`, false}, {"load[0].discard=1", false},
	{"load[0].name=a.B-9_z", true}, {"load[0].name=-a", false}, {`load[0].name=""`, false}, {"load[0].name=7", false},
	{"load[0].workloads=[workload]", true}, {"load[0].workloads=workload", false}, {"load[0].workloads=[workload, workload]", false},
	{"load[0].open.arrivals=poisson", true}, {"load[0].open.arrivals=Poisson", false}, {"load[0].open.arrivals=ARRIVALS_POISSON", false},
	{"load[0].open.arrivals=2", false}, {"load[0].open.arrivals=unspecified", false}, {"load[0].open.burst=2", false},
	{"load[0].open.ramp={from: 1, to: 2}", false}, {"load[0].closed={users: 5}", false}, {"load[0]={duration: 1m}", false},
	{"load[0].open={ramp: {from: 0, to: 5}}", true}, {"load[0].open={ramp: {from: 0}}", false}, {"load[0].open={}", false},
	{"load[0].open.trace={file: a.csv}", false}, {"load=[]", false}, {"load[0]=5", false},
	{"load[0]={duration: 1m, closed: {users: 5, think: 2s}}", true}, {"load[0]={duration: 1m, closed: {users: 5, think: 2}}", false},
	{"load[0]={duration: 1m, closed: {users: 5, think: {fixed: 2s}}}", true},
	{"load[0]={duration: 1m, closed: {users: 5, think: {exponential: {mean: 2s}}}}", true},
	{"load[0]={duration: 1m, closed: {users: 5, think: {}}}", false}, {"load[0]={duration: 1m, closed: {users: 0}}", false},
	{"capture.bodies=5%", true}, {"capture.bodies=0.05", true}, {"capture.bodies=1.5", false}, {"capture.bodies=-1", false}, {"capture.bodies=five", false},
	{"capture.wire=true", true}, {"capture.wire=false", true}, {"capture.wire=1", false},
	{"capture.records=all", true}, {"capture.records=0", true}, {"capture.records=some", false}, {"capture.records=4294967296", false},
	{"targets[0].protocol=openai_chat", false}, {"targets[0].proto_files=a.proto", false}, {"workloads[0].grpc={method: a.B/C}", false},
	{"targets[0].connections={max: 1}", true},
	{"targets[0].connections={policy: per-request, max: 5, idle: 3s}", true}, {"targets[0].connections={policy: per_request}", false},
	{"targets[0].connections={warm: 16385}", false}, {"targets[0].connections={max: -1}", false},
	{"targets[0].connections={http: http2, streams: 10000}", true}, {"targets[0].connections={http: h2}", false}, {"targets[0].connections={streams: 10001}", false},
	{"targets[0].connections={warm: 16384}", true}, {"targets[0].connections={}", true},
	{"targets[0].headers={a: b}", true}, {"targets[0].headers={a: {value: b}}", true}, {"targets[0].headers={a: {env: B}}", true},
	{"targets[0].headers={a: {env: B, file: c}}", false}, {"targets[0].headers={a: 5}", false}, {"targets[0].headers={a: {}}", false}, {"targets[0].headers=[a]", false},
	{"targets[0].auth={bearer: {env: A}}", true}, {"targets[0].auth={bearer: token}", false}, {"targets[0].auth={basic: {user: a, password: {file: p}}}", true},
	{"targets[0].auth={basic: {user: 'a:b', password: {file: p}}}", false}, {"targets[0].auth={basic: {user: a}}", false},
	{"targets[0].tls={min_version: tls13}", true}, {"targets[0].tls={min_version: tls11}", false},
	{"targets[0].timeouts={connect: 1s}", true}, {"targets[0].url=5", false}, {`targets[0].url=""`, false},
	{"workloads[0].http.method=POST", true}, {"workloads[0].http.method=post", false}, {"workloads[0].http.path=p", false},
	{"workloads[0].http.body=x", true}, {"workloads[0].http.body={a: 1}", false}, {"workloads[0].http={body: a, body_file: b}", false},
	{"workloads[0].http.expect_status=[200, 404]", true}, {"workloads[0].http.expect_status=[99]", false}, {"workloads[0].http.expect_status=200", false},
	{"workloads[0].checks=[{contains: ok}]", true}, {"workloads[0].checks=[{contains: ok, max_body: 1k}]", false}, {"workloads[0].checks=[{}]", false},
	{"workloads[0].checks=[{json_path: {path: $.a, equals: null}}]", true}, {"workloads[0].checks=[{json_path: {path: $.a, equals: {a: [1, x]}}}]", true},
	{"workloads[0].checks=[{json_path: {path: $.a}}]", false}, {"workloads[0].checks=[{json_schema: a.json}]", false},
	{"workloads[0].weight=1000001", false}, {"workloads[0].http=null", false},
	{"slo=[error_rate < 1%]", true}, {"slo=error_rate < 1%", false}, {"slo=[5]", false}, {"slo=[{metric: ttft}]", false}, {"slo=[]", true}, {"slo=['']", false},
	{"limits={max_in_flight: 20k, max_lateness: 250ms}", true}, {"limits={max_in_flight: 0}", false}, {"limits.max_inflight=5", false},
	{"orphan={hold: 15s}", true}, {"orphan={hold: 0s}", true}, {"orphan={}", false}, {"orphan=stop", true}, {"orphan=hold", false}, {"orphan=15s", false}, {"orphan={hold: stop}", false},
	{"agents={min: 1}", true}, {"agents={match: {zone: a}, min: 3, max: 20, wait: 30s}", true}, {"agents={min: 0}", false}, {"agents={max: 4001}", false},
	{"agents={match: [a]}", false}, {"agents={match: {zone: 5}}", false}, {"cost={per_hour: 1}", false}, {"x-note=5", false}, {"name=", false},
}

func TestFieldSpellings(t *testing.T) {
	schema := compiledSchema(t)
	for _, c := range fieldCases {
		_, err := scenario.Parse(scenario.Source{Data: []byte(smallest)}, c.set)
		if (err == nil) != c.ok {
			t.Errorf("%s: the reader says %v", c.set, err)
		}
		// The same change in a document of its own, for the schema.
		if c.set == "load[0].duration=" || c.set == "name=" || c.set == "load[0].open.rate=.nan" || c.set == "seed=.inf" {
			continue // not a value of JSON
		}
		var doc any = tree(t, []byte(smallest))
		doc = setPath(t, doc, c.set)
		if err := schema.Validate(doc); (err == nil) != c.ok {
			t.Errorf("%s: the schema says %v", c.set, err)
		}
	}
}
