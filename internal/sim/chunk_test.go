package sim

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStreamsOneAfterTheOtherOnAConnection: the chunks that go past net/http and the end that it writes make one message,
// after which the connection is used again; who speaks HTTP/1.0 gets the same without chunks.
func TestStreamsOneAfterTheOtherOnAConnection(t *testing.T) {
	r := start(t, quick())
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(conn)
	var bodies []string
	for _, version := range []string{"1.1", "1.1", "1.0"} {
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/%s\r\nHost: sim\r\nContent-Length: %d\r\n\r\n%s", chatPath, version, len(chatBody), chatBody); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("HTTP/%s: %v", version, err)
		}
		if chunked := len(resp.TransferEncoding) > 0; chunked != (version == "1.1") {
			t.Errorf("HTTP/%s: transfer encoding %v", version, resp.TransferEncoding)
		}
		bodies = append(bodies, string(body))
	}
	for _, body := range bodies {
		if got := strings.Count(body, "data: "); got != strings.Count(bodies[0], "data: ") || !strings.HasSuffix(body, doneEvent) {
			t.Errorf("%d events: %s", got, body)
		}
	}
}
