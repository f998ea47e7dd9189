// Package grpcdriver drives gRPC targets: any method of any service, in all four kinds of call.
//
// What the service looks like is read before the load: by reflection, from a descriptor set or from
// .proto files. Each message of the scenario is then turned from JSON into bytes, once where it does not
// vary, and the method's kind decides how the call is played:
//
//  1. dispatched: a connection is chosen, round robin.
//  2. connected: the stream has a connection; equal to dispatched on one that was ready.
//  3. sent: the last message has been handed to the connection.
//  4. first byte: the header of the answer came back.
//  5. one content event for each message, with the instant at which it had been read in full.
//  6. end: the trailer with the status came, or the failure is known.
//
// A call is sent once: a stream that the server turned away unread is a failure.
package grpcdriver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits on what is taken from a target and kept for it.
const (
	// MaxMessage bounds one message of an answer, in bytes.
	MaxMessage = 4 << 20
	// MaxAnswer bounds all messages of an answer together, in bytes.
	MaxAnswer = 64 << 20
	// MaxSchema bounds what describes a service: descriptors or .proto files, in bytes.
	MaxSchema = 16 << 20
	// MaxSchemaFiles bounds the number of their files.
	MaxSchemaFiles = 4096
	// SchemaTimeout bounds the reading of it.
	SchemaTimeout = 30 * time.Second

	// maxKept bounds the answer that is only kept, in bytes.
	maxKept = measure.MaxBody
	// keepBuffer is the largest buffer that is kept for the next call, in bytes.
	keepBuffer = 64 << 10
)

// Config is the machine's side of the driver, and what it is to be ready for.
type Config struct {
	// Local is the machine's side.
	Local wire.Local
	// Files opens the files that the target names.
	Files workload.Files
	// Samples are requests to the target, one of each of its workloads: what their calls name is looked
	// up and their messages are checked before the load.
	Samples []*workload.Request
}

// Driver plays calls to one target. It may be used by many workers at once.
type Driver struct {
	local     wire.Local
	address   string // host:port to dial
	authority string
	tls       *tls.Config // nil: none
	limits    wire.Timeouts
	pool      *rpc.Pool
	schema    *schema
	methods   map[*workload.Call]*method
	calls     sync.Pool
}

// New makes the driver of a target with the protocol grpc. It reads the description of the service, by
// reflection over a connection where no files are given, within SchemaTimeout. Its error holds every
// problem found with the calls of the samples.
func New(ctx context.Context, t *pb.Target, cfg Config) (*Driver, error) {
	if p := t.GetProtocol(); p != pb.Protocol_PROTOCOL_GRPC {
		return nil, fmt.Errorf("target %q: protocol %v is not one of this driver", t.GetName(), p)
	}
	if cfg.Local.Now == nil {
		return nil, errors.New("grpcdriver: Config.Local.Now is needed")
	}
	d := &Driver{local: cfg.Local, methods: map[*workload.Call]*method{}}
	d.calls.New = func() any { return new(call) }
	if err := d.aim(t); err != nil {
		return nil, err
	}
	d.pool = rpc.New(ctx, rpc.Config{
		Address: d.address, TLS: d.tls, Timeouts: d.limits, Local: d.local, Max: int(t.GetConnections().GetMax()),
		Private: t.GetConnections().GetPolicy() > pb.ConnectionPolicy_CONNECTION_POLICY_REUSE,
	})
	ctx, cancel := context.WithTimeout(ctx, SchemaTimeout)
	defer cancel()
	if err := d.prepare(ctx, t, cfg); err != nil {
		return nil, errors.Join(err, d.pool.Close())
	}
	return d, nil
}

// aim reads the target's address and settings.
func (d *Driver) aim(t *pb.Target) error {
	u, err := url.Parse(t.GetUrl())
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "grpc" && u.Scheme != "grpcs" {
		return errors.New("url is not valid; write it as grpc://host:port, or grpcs:// for TLS")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	d.address = net.JoinHostPort(u.Hostname(), port)
	d.authority = t.GetAuthority()
	if d.authority == "" {
		d.authority = d.address
	}
	if u.Scheme == "grpcs" {
		if d.tls, err = wire.TLS(t.GetTls()); err != nil {
			return err
		}
		if d.tls.ServerName == "" {
			d.tls.ServerName = u.Hostname()
		}
	}
	d.limits = wire.TimeoutsOf(t.GetTimeouts())
	return nil
}

// prepare reads the description of the service and makes every call of the samples ready.
func (d *Driver) prepare(ctx context.Context, t *pb.Target, cfg Config) error {
	var err error
	files := &source{open: cfg.Files}
	switch {
	case t.HasDescriptorSet():
		d.schema, err = files.descriptorSet(t.GetDescriptorSet())
	case len(t.GetProtoFiles()) > 0:
		d.schema, err = files.protoFiles(ctx, t.GetProtoFiles(), t.GetImportPaths())
	default:
		d.schema, err = d.reflect(ctx, cfg.Samples)
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, sample := range cfg.Samples {
		if sample.Call == nil || d.methods[sample.Call] != nil {
			continue
		}
		m, err := d.schema.compile(sample)
		if err == nil {
			err = m.address(d.authority, d.tls != nil, sample)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.methods[sample.Call] = m
	}
	return errors.Join(errs...)
}

// reflect asks the server, with the headers of a request, which may hold the key that it wants.
func (d *Driver) reflect(ctx context.Context, samples []*workload.Request) (*schema, error) {
	if len(samples) == 0 {
		return assemble(nil)
	}
	var services []string
	for _, sample := range samples {
		if sample.Call != nil {
			services = append(services, serviceOf(sample.Call.Method))
		}
	}
	return reflectSchema(ctx, &asker{d, samples[0].Header}, services)
}

// Warm opens n connections for the calls to come.
func (d *Driver) Warm(ctx context.Context, n int) error { return d.pool.Warm(ctx, n) }

// Close closes the connections.
func (d *Driver) Close() error { return d.pool.Close() }

// Do plays the call and fills in the outcome from Dispatched on. It returns when the call has ended,
// with End set. When ctx ends, the class is canceled, and the cause of ctx is its text.
func (d *Driver) Do(ctx context.Context, r *workload.Request, o *measure.Outcome) {
	c := d.calls.Get().(*call)
	defer d.calls.Put(c)
	if err := c.begin(d, r, o); err != nil {
		o.Dispatched = d.local.Now()
		o.Fail(o.Dispatched, measure.ClassScript, err.Error())
		return
	}
	err := d.pool.Do(ctx, &c.rpc)
	c.finish(err)
}
