package wire

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// arrivals is a sink that tells the server to go on, and notes the instants of each read.
type arrivals struct {
	ex   *Exchange
	next chan<- bool
	at   []measure.Instant
	seen []measure.Instant
}

func (a *arrivals) Head(*Exchange) (Wait, error) { return Keep, nil }

func (a *arrivals) Body(_ []byte, at measure.Instant) (Wait, error) {
	a.at, a.seen = append(a.at, at), append(a.seen, a.ex.Stamp)
	a.next <- true
	return Progress, nil
}

// pieces is how many pieces an answer has.
const pieces = 10

// talk serves an answer piece by piece, each when it is told to go on, and notes when it began to write.
func talk(now func() measure.Instant, next <-chan bool, wrote chan<- measure.Instant) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for range pieces {
			wrote <- now()
			_, _ = w.Write([]byte("piece"))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}
}

// overTCP starts a server of net/http.
func overTCP(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

// listen starts a server over a Unix socket and returns a dialler to it.
func listen(t *testing.T, h http.Handler) func(context.Context, string, string) (net.Conn, error) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

// TestStampLiesBetweenWriteAndRead: the kernel has a piece after the sender began to write it and before we
// have it, over plain TCP and under TLS; where the system does not tell, there is no stamp. The kernel begins to
// stamp a moment after it was asked to, so the exchange is repeated until it has.
func TestStampLiesBetweenWriteAndRead(t *testing.T) {
	a := wiretest.NewAuthority(t)
	for _, c := range []struct {
		name   string
		scheme string
		h2     bool
		unix   bool
		stamps bool
	}{
		{"plain", "http", false, false, true},
		{"TLS", "https", false, false, true},
		{"HTTP/2", "http", true, false, true},
		{"HTTP/2, TLS", "https", true, false, true},
		{"Unix socket", "http", false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, next := wiretest.Clock(), make(chan bool, pieces)
			wrote := make(chan measure.Instant, pieces)
			h := talk(now, next, wrote)
			cfg := Config{URL: c.scheme + "://" + "localhost", Local: Local{Now: now}}
			switch {
			case c.unix:
				cfg.Local.Dial = listen(t, h)
			case c.scheme == "https":
				cfg.URL, cfg.TLS = "https://"+secure(t, a, c.h2, nil, h), trusting(t, a)
			case c.h2:
				cfg.URL, cfg.HTTP = "http://"+speak(t, 0, h).addr, HTTP2
			default:
				cfg.URL = "http://" + overTCP(t, h)
			}
			client, ctx, want := newClient(t, cfg), wiretest.Context(t), c.stamps && runtime.GOOS == "linux"
			for {
				var ex Exchange
				sink := &arrivals{ex: &ex, next: next}
				if err := client.Do(ctx, get("/"), &ex, sink); err != nil {
					t.Fatal(err)
				}
				checkStamps(t, &ex, sink, wrote, want)
				if !want || ex.Stamp.Reached() && ex.FirstByteStamp.Reached() {
					return
				}
			}
		})
	}
}

func checkStamps(t *testing.T, ex *Exchange, sink *arrivals, wrote <-chan measure.Instant, want bool) {
	t.Helper()
	if len(sink.at) != pieces || len(wrote) != pieces {
		t.Fatalf("%d pieces written, %d read", len(wrote), len(sink.at))
	}
	for i, mark := range sink.seen {
		from := <-wrote
		switch {
		case !mark.Reached():
			continue
		case !want:
			t.Errorf("piece %d is stamped", i)
		case mark+stamp.StepFrom < from || mark > sink.at[i]:
			t.Errorf("piece %d was written from %d on, stamped at %d and read at %d", i, from, mark, sink.at[i])
		}
	}
	if ex.FirstByteStamp.Reached() && (!want || ex.FirstByteStamp > ex.FirstByte || ex.FirstByteStamp+stamp.StepFrom < ex.Connected) {
		t.Errorf("connected at %d, first byte stamped at %d and read at %d", ex.Connected, ex.FirstByteStamp, ex.FirstByte)
	}
	var o measure.Outcome
	if ex.Fill(&o); o.FirstByteStamp != ex.FirstByteStamp || o.StampsDropped != ex.StampsDropped {
		t.Errorf("the outcome has %d and %d", o.FirstByteStamp, o.StampsDropped)
	}
}

// TestStampsThatWereDroppedAreCounted, once a read.
func TestStampsThatWereDroppedAreCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no stamps here")
	}
	const chunk = "5\r\nhello\r\n"
	one := answering(t, okHead+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat(chunk, 8)+"0\r\n\r\n")
	two := peers(t, func(_ int, p *peer) {
		for id := p.next(); id != 0; id = p.next() {
			var all bytes.Buffer
			answer := &peer{Framer: http2.NewFramer(&all, nil)}
			answer.answer(id, "hello", false)
			_ = answer.WriteData(id, true, []byte("hello"))
			_, _ = p.conn.Write(all.Bytes())
		}
	})
	for version, addr := range map[Version]string{HTTP1: one, HTTP2: two} {
		client := newClient(t, Config{URL: "http://" + addr, HTTP: version})
		client.stamps.Look = func() (int64, int64) { return 0, stamp.LookWidth + 1 } // the clocks cannot be told apart
		var ex Exchange
		for ctx := wiretest.Context(t); ex.StampsDropped == 0; { // until the kernel stamps
			if err := client.Do(ctx, get("/"), &ex, new(recorder)); err != nil {
				t.Fatal(err)
			}
		}
		if ex.StampsDropped != 1 || ex.Stamp.Reached() || ex.FirstByteStamp.Reached() {
			t.Errorf("version %d: %d dropped, %d, %d", version, ex.StampsDropped, ex.Stamp, ex.FirstByteStamp)
		}
	}
}
