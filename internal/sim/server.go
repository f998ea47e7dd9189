package sim

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// Server is a simulated model endpoint. Its methods may be called from several goroutines.
type Server struct {
	cfg     Config
	clock   *clock
	stamps  stamp.Clock
	ledger  *ledger
	batcher *batcher // nil under LawFixed
	words   vocabulary
	handler http.Handler
	buffers sync.Pool // of *[]byte

	stopOnce sync.Once
	stop     chan struct{}
}

// New makes a simulator, or names all that is wrong with its configuration. Its time, freezes
// included, begins now. Who does not Serve must Close it.
func New(cfg Config) (*Server, error) {
	cfg.Faults = slices.Clone(cfg.Faults)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:    cfg,
		clock:  &clock{base: time.Now(), calendar: newCalendar(cfg.Faults)},
		ledger: newLedger(cfg.Requests),
		words:  newVocabulary(),
		stop:   make(chan struct{}),
	}
	s.stamps.Init(func() measure.Instant { return measure.Instant(s.clock.now()) })
	s.buffers.New = func() any { return new([]byte) }
	if cfg.Law == LawBatching {
		s.batcher = startBatcher(cfg.Batching, s.clock, s.stop)
	}
	s.handler = s.routes()
	return s, nil
}

// Handler serves without a listener, for tests; the refused fault needs Serve.
func (s *Server) Handler() http.Handler { return s.handler }

// Capacity is what the configuration can carry with requests of Config.MeanInput and
// Config.MeanOutput tokens.
func (s *Server) Capacity() Capacity { return s.cfg.Capacity(s.cfg.MeanInput, s.cfg.MeanOutput) }

// Close cuts all answers in progress and stops the engine. It may be called more than once.
func (s *Server) Close() {
	s.stopOnce.Do(func() { close(s.stop) })
	if s.batcher != nil {
		<-s.batcher.done
	}
}

// Serve serves on the listener until the context ends, by HTTP/1.1 and by HTTP/2 without TLS to
// those who begin with it. Answers in progress are then cut; Serve returns nil when all is closed,
// the server included. It closes the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	web := s.web()
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(&refusingListener{Listener: ln, server: s}) }()
	var err error
	select {
	case <-ctx.Done():
		s.Close()
		err = shutDown(context.WithoutCancel(ctx), web)
		<-failed
	case err = <-failed:
		s.Close()
		err = errors.Join(err, web.Close())
	}
	return err
}

// shutDown waits for the handlers, which have been told to stop, and cuts those that do not.
func shutDown(ctx context.Context, web *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	err := web.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return web.Close()
	}
	return err
}

func (s *Server) web() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s.handler,
		ConnContext:       withConn,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeader,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          s.errorLog(),
	}
}

func (s *Server) errorLog() *log.Logger {
	if s.cfg.Log == nil {
		return log.New(io.Discard, "", 0)
	}
	return slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn)
}

// Truth is what the server did until now.
func (s *Server) Truth() Truth {
	now := s.clock.now()
	t := s.ledger.truth(now, s.clock.calendar.count(now))
	if b := s.batcher; b != nil {
		t.Batching = &BatchingTruth{
			Running: b.running.Load(), RunningMax: b.peakBatch.Load(), Queued: b.queued.Load(),
			Reserved: b.reserved.Load(), ReservedMax: b.peak.Load(), KV: int64(s.cfg.Batching.KV),
			Steps: b.steps.Load(), CachedTokens: b.hits.Load(),
		}
	}
	return t
}

// Arrivals lists the X-Loadline-Arrival headers seen with the given X-Loadline-Run (empty: with
// any), sorted by run, phase and number.
func (s *Server) Arrivals(run string) []Arrival {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return s.ledger.arrivals.list(run)
}

// Requests lists the requests that have ended and carried an X-Loadline-Arrival with the given X-Loadline-Run
// (empty: with any), in the order in which they ended; at most Config.Requests.
func (s *Server) Requests(run string) []RequestTruth {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return s.ledger.requests.list(s.ledger.arrivals, run)
}

// ResetTruth begins the count anew, numbering of requests included. Requests in progress are no
// longer counted; time, and so the freezes, goes on.
func (s *Server) ResetTruth() {
	now := s.clock.now()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	s.ledger.clear(s.clock.base.Add(time.Duration(now)), now, s.clock.calendar.count(now))
}

// fault draws the fault of a request (or, with refused, of a connection); nil: none.
func (s *Server) fault(number, key uint64, refused bool) *Fault {
	return s.faultWhere(number, key, func(k Kind) bool { return k != KindFreeze && (k == KindRefused) == refused })
}

// faultWhere draws among the faults of some kinds.
func (s *Server) faultWhere(number, key uint64, may func(Kind) bool) *Fault {
	if len(s.cfg.Faults) == 0 {
		return nil
	}
	now := s.clock.now()
	for i := range s.cfg.Faults {
		f := &s.cfg.Faults[i]
		if !may(f.Kind) {
			continue
		}
		if f.moment(number, now) && f.hits(s.cfg.Seed, key, i) && s.ledger.fire(i, f) {
			return f
		}
	}
	return nil
}

// refusingListener resets connections that have the refused fault before a byte is read.
type refusingListener struct {
	net.Listener

	server *Server
	number uint64 // of connections; Accept is called by one goroutine
}

func (l *refusingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		number := l.number
		l.number++
		if l.server.fault(number, mix(number), true) == nil {
			return stampConn(conn, l.server.clock.now), nil
		}
		resetConn(conn)
	}
}

// resetConn closes a connection by RST where the system allows.
func resetConn(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // without it the connection is closed politely; nothing else to do
	}
	_ = conn.Close()
}
