package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// script is a source of given bytes, a few at a time.
type script struct {
	data []byte
	step int
	bufs buffers
}

func (s *script) read(in *input) error {
	in.release(&s.bufs)
	if len(s.data) == 0 {
		return io.EOF
	}
	n := copy(in.hold(&s.bufs)[:], s.data[:min(s.step, len(s.data))])
	s.data, in.w = s.data[n:], n
	return nil
}

// response is what became of some bytes.
type response struct {
	status, interim int
	body            string
	header          string // of Content-Type
	close           bool
	rest            int
	err             error
}

func (r response) String() string {
	if r.err != nil {
		return fmt.Sprintf("refused after %d bytes of body: %v", len(r.body), r.err)
	}
	return fmt.Sprintf("%d (%d before) %q, type %q, close %v, %d left", r.status, r.interim, r.body, r.header, r.close, r.rest)
}

// parse reads data with our parser, step bytes at a time.
func parse(method string, data []byte, step int) (r response) {
	src := &script{data: data, step: step}
	in := input{src: src}
	var f Fields
	var h head
	budget := MaxHead
	for r.interim = 0; r.interim < maxInterim; r.interim++ {
		if h, r.err = in.readHead(method, &f, &budget); r.err != nil {
			return r
		}
		if h.status >= 200 || h.status == 101 {
			break
		}
	}
	r.status, r.close, r.header = h.status, h.close, string(f.Get("Content-Type"))
	b := body{in: &in, kind: h.body, left: h.bodyLeft()}
	var text []byte
	for r.err == nil {
		var p []byte
		p, r.err = b.next()
		text = append(text, p...)
	}
	if r.err == io.EOF {
		r.err = nil
	}
	r.body, r.rest = string(text), in.w-in.r+len(src.data)
	return r
}

// reference reads data with net/http.
func reference(method string, data []byte) (r response) {
	under := bytes.NewReader(data)
	br := bufio.NewReaderSize(under, 2*MaxHead)
	req := &http.Request{Method: method}
	var resp *http.Response
	for r.interim = 0; r.interim < maxInterim; r.interim++ {
		if resp, r.err = http.ReadResponse(br, req); r.err != nil {
			return r
		}
		if resp.StatusCode >= 200 || resp.StatusCode == 101 {
			break
		}
	}
	r.status, r.close, r.header = resp.StatusCode, resp.Close, resp.Header.Get("Content-Type")
	text, err := io.ReadAll(resp.Body)
	r.body, r.err, r.rest = string(text), err, under.Len()+br.Buffered()
	return r
}

const ok11 = "HTTP/1.1 200 OK\r\n"

// rfc9112 holds responses and what becomes of them; "" as want: refused.
var rfc9112 = []struct {
	name, method, in, want string
	strict                 bool // net/http takes it and we do not
}{
	{"length", "GET", ok11 + "Content-Length: 5\r\n\r\nhello", "hello", false},
	{"length zero", "GET", ok11 + "Content-Length: 0\r\n\r\n", "", false},
	{"no reason and no blank", "GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"empty reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"odd reason", "GET", "HTTP/1.1 200 \xff\x01: a\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"blanks before the status", "GET", "HTTP/1.1   200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"bare LF in the head", "GET", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "ok", false},
	{"blanks around a value", "GET", ok11 + "Content-Length: \t 2 \t\r\n\r\nok", "ok", false},
	{"no blank before a value", "GET", ok11 + "Content-Length:2\r\n\r\nok", "ok", false},
	{"name in other case", "GET", ok11 + "cOnTeNt-LeNgTh: 2\r\n\r\nok", "ok", false},
	{"equal lengths", "GET", ok11 + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"obs-fold", "GET", ok11 + "X: a\r\n b\r\n\tc\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"obs-fold of a length", "GET", ok11 + "Content-Length:\r\n 2\r\n\r\nok", "ok", false},
	{"obs-text", "GET", ok11 + "X: \xe4\xff\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"empty value", "GET", ok11 + "X:\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"blank before the colon is another name", "GET", ok11 + "Content-Length : 9\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"until close", "GET", ok11 + "\r\nhello", "hello", false},
	{"until close, empty", "GET", ok11 + "\r\n", "", false},
	{"1.0 until close", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", "hello", false},
	{"1.0 ignores chunked", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "0\r\n\r\n", false},
	{"1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"close among others", "GET", ok11 + "Connection: x, Close\r\nContent-Length: 2\r\n\r\nok", "ok", false},
	{"chunked", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello", false},
	{"chunked, large letters", "GET", ok11 + "transfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "0123456789", false},
	{"chunk extension", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2;a=\"b\"; c \r\nok\r\n0;c\r\n\r\n", "ok", false},
	{"leading zeros of a chunk", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n0002\r\nok\r\n000\r\n\r\n", "ok", false},
	{"trailer", "GET", ok11 + "Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", "ok", false},
	{"chunked wins over length", "GET", ok11 + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", false},
	{"no content", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "", false},
	{"not modified, chunked", "GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "", false},
	{"head", "HEAD", ok11 + "Content-Length: 5\r\n\r\n", "", false},
	{"head, chunked", "HEAD", ok11 + "Transfer-Encoding: chunked\r\n\r\n", "", false},
	{"interim", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok11 + "Content-Length: 2\r\n\r\nok", "ok", false},
	{"switching protocols", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes", "", false},
	{"something after it", "GET", ok11 + "Content-Length: 2\r\n\r\nok" + ok11, "ok", false},
	{"status 999", "GET", "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok", "ok", false},

	{"two lengths", "GET", ok11 + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "-", false},
	{"two lengths in one line", "GET", ok11 + "Content-Length: 2, 2\r\n\r\nok", "-", false},
	{"negative length", "GET", ok11 + "Content-Length: -2\r\n\r\nok", "-", false},
	{"length with a sign", "GET", ok11 + "Content-Length: +2\r\n\r\nok", "-", false},
	{"length in hex", "GET", ok11 + "Content-Length: 0x2\r\n\r\nok", "-", false},
	{"empty length", "GET", ok11 + "Content-Length: \r\n\r\nok", "-", false},
	{"length of 2^63", "GET", ok11 + "Content-Length: 9223372036854775808\r\n\r\nok", "-", false},
	{"bad length of a chunked body", "GET", ok11 + "Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "-", false},
	{"too short", "GET", ok11 + "Content-Length: 5\r\n\r\nhell", "-", false},
	{"another encoding", "GET", ok11 + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "-", false},
	{"chunked twice", "GET", ok11 + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "-", false},
	{"empty encoding", "GET", ok11 + "Transfer-Encoding:\r\n\r\n0\r\n\r\n", "-", false},
	{"trailer of a length", "GET", ok11 + "Trailer: A, content-length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "-", false},
	{"no chunk size", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", "-", false},
	{"chunk size with a sign", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size after a blank", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n 2\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size before a blank and an extension", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2 ;a\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size too small", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size too large", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n3\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size of 17 digits", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n00000000000000002\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size line with bare LF", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", "-", false},
	{"chunk size line with two CR", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2\r\r\nok\r\n0\r\n\r\n", "-", false},
	{"chunk that ends with bare LF", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\n0\r\n\r\n", "-", false},
	{"chunk line too long", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", maxChunkLine) + "\r\nok\r\n0\r\n\r\n", "-", false},
	{"extensions without end", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 2000)+"\r\na\r\n", 10) + "0\r\n\r\n", "-", false},
	{"no last chunk", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "-", false},
	{"no end after the last chunk", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "-", false},
	{"bad trailer", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nnonsense\r\n\r\n", "-", false},
	{"no colon", "GET", ok11 + "nonsense\r\n\r\n", "-", false},
	{"no name", "GET", ok11 + ": x\r\n\r\n", "-", false},
	{"blank before the first name", "GET", ok11 + " X: y\r\n\r\n", "-", false},
	{"tab in a name", "GET", ok11 + "X\tY: y\r\n\r\n", "-", false},
	{"control character in a value", "GET", ok11 + "X: a\x00b\r\n\r\n", "-", false},
	{"CR in a value", "GET", ok11 + "X: a\rb\r\n\r\n", "-", false},
	{"head that ends early", "GET", ok11 + "Content-Length: 2\r\n", "-", false},
	{"nothing", "GET", "", "-", false},
	{"empty line first", "GET", "\r\n" + ok11 + "Content-Length: 0\r\n\r\n", "-", false},
	{"no version", "GET", "200 OK\r\n\r\n", "-", false},
	{"other protocol", "GET", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "-", false},
	{"status of two digits", "GET", "HTTP/1.1 20 OK\r\n\r\n", "-", false},
	{"status of four digits", "GET", "HTTP/1.1 2000 OK\r\n\r\n", "-", false},
	{"status with a letter", "GET", "HTTP/1.1 2x0 OK\r\n\r\n", "-", false},
	{"tab after the status", "GET", "HTTP/1.1 200\tOK\r\n\r\n", "-", false},
	{"version 2", "GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "-", true},
	{"version 0.9", "GET", "HTTP/0.9 200 OK\r\n\r\n", "-", true},
	{"status 000", "GET", "HTTP/1.1 000 Odd\r\n\r\n" + ok11 + "Content-Length: 0\r\n\r\n", "-", true},
	{"status with a sign", "GET", "HTTP/1.1 +20 Odd\r\n\r\n" + ok11 + "Content-Length: 0\r\n\r\n", "-", true},
	{"head longer than 64 KiB", "GET", ok11 + "X: " + strings.Repeat("x", MaxHead) + "\r\nContent-Length: 0\r\n\r\n", "-", true},
	{"head of many fields", "GET", ok11 + strings.Repeat("X: y\r\n", MaxHead/6+1) + "Content-Length: 0\r\n\r\n", "-", true},
	{"trailer with bare LF", "GET", ok11 + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\nC: d\r\n\r\n", "-", true},
}

// TestResponsesOfRFC9112: each is taken or refused as said, in whatever pieces it comes, and as
// net/http does unless it is said that we are stricter.
func TestResponsesOfRFC9112(t *testing.T) {
	for _, c := range rfc9112 {
		t.Run(c.name, func(t *testing.T) {
			whole := parse(c.method, []byte(c.in), len(c.in)+1)
			if refused := c.want == "-"; refused != (whole.err != nil) || !refused && whole.body != c.want {
				t.Fatalf("%v, want %q", whole, c.want)
			}
			ref := reference(c.method, []byte(c.in))
			if c.strict && ref.err != nil {
				t.Errorf("net/http refuses it too: %v", ref.err)
			} else if !c.strict && !same(whole, ref) {
				t.Errorf("ours: %v\nnet/http: %v", whole, ref)
			}
			for _, step := range []int{1, 2, 3, 7} {
				if in := parse(c.method, []byte(c.in), step); in.String() != whole.String() {
					t.Errorf("%d bytes at a time: %v\nin one piece: %v", step, in, whole)
				}
			}
		})
	}
}

// same reports whether two readers agree: both refuse, or both read the same.
func same(a, b response) bool {
	if a.err != nil || b.err != nil {
		return a.err != nil && b.err != nil
	}
	return a == b
}

// stricter reports whether a refusal is one of those that the comments of head.go and body.go name.
func stricter(data []byte, err error) bool {
	if errors.Is(err, errHeadSize) || errors.Is(err, errTrailerLine) {
		return true
	}
	text := err.Error()
	if strings.HasPrefix(text, "not an HTTP/1 status line") {
		return bytes.Contains(data, []byte("HTTP/"))
	}
	return strings.HasPrefix(text, "the status is not")
}

func FuzzResponse(f *testing.F) {
	for _, c := range rfc9112 {
		if len(c.in) < 1<<10 {
			f.Add([]byte(c.in), c.method == "HEAD", byte(3))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool, step byte) {
		if len(data) > 2*MaxHead {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		got, want := parse(method, data, int(step)+1), reference(method, data)
		if got.err != nil && want.err == nil && stricter(data, got.err) {
			return
		}
		if !same(got, want) {
			t.Errorf("ours: %v\nnet/http: %v", got, want)
		}
	})
}
