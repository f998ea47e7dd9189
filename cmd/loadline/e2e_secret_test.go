package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The secrets have every character that one of the forms writes otherwise.
const (
	bearerKey = `sk-e2e/Bearer+key=42&"q%`
	basicKey  = `pa55 w0rd/of+the=user`
	headerKey = `hd-0123456789-value-of-a-header`
)

// tellTale answers with the credentials that it was shown, in every form that a server might write them in, as the
// message of an error, as plain text or as the answer itself.
type tellTale struct {
	mu   sync.Mutex
	seen map[string]bool // credentials, by header value
}

// ServeHTTP implements http.Handler.
func (g *tellTale) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	var said []string
	for _, name := range []string{"Authorization", "X-Secret"} {
		value := r.Header.Get(name)
		if value == "" {
			continue
		}
		g.mu.Lock()
		g.seen[value] = true
		g.mu.Unlock()
		key := strings.TrimPrefix(value, "Bearer ")
		if _, password, ok := r.BasicAuth(); ok {
			key = password
		}
		said = append(said, forms(value)...)
		said = append(said, forms(key)...)
	}
	text := strings.Join(said, " | ")
	switch {
	case strings.HasSuffix(r.URL.Path, "/plain"):
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, text)
	case strings.HasSuffix(r.URL.Path, "/well"):
		fmt.Fprint(w, text)
	default:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error": {"message": %q}}`, "bad credentials: "+text)
	}
}

// forms are a secret in the clear, in base64, percent-encoded and in hexadecimal.
func forms(secret string) []string {
	return []string{
		secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
		url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret)),
	}
}

const secretive = `name: secretive
targets:
  - {name: bearer, url: TARGET/v1, protocol: openai-chat, model: m, auth: {bearer: {env: E2E_BEARER}}}
  - {name: basic, url: TARGET, protocol: http, auth: {basic: {user: me, password: {env: E2E_BASIC}}}}
  - {name: header, url: TARGET, protocol: http, headers: {X-Secret: {file: key.txt}}}
workloads:
  - {name: chat, target: bearer, synthetic: {input_tokens: {fixed: 5}}}
  - {name: plain, target: basic, http: {path: /plain}}
  - {name: well, target: header, http: {path: /well}}
  - {name: both, target: basic, http: {path: /well}, checks: [{contains: nothing of the kind}]}
load:
  - {open: {rate: 40}, sessions: 20}
capture: {records: all, bodies: 1}
` + everyArrival

// TestSecretsAppearNowhere: what a target makes of the credentials that it was shown stands in no file of the run folder
// and in no output, in whatever form it was sent back.
func TestSecretsAppearNowhere(t *testing.T) {
	t.Parallel()
	g := &tellTale{seen: map[string]bool{}}
	web := httptest.NewServer(g)
	defer web.Close()
	dir := files{"s.yaml": strings.ReplaceAll(secretive, "TARGET", web.URL), "key.txt": headerKey + "\n"}.write(t)
	env := []string{"E2E_BEARER=" + bearerKey, "E2E_BASIC=" + basicKey}
	p := &played{dir: dir, folder: filepath.Join(dir, "r")}
	p.process = execLoadline(t, dir, env, "run", "s.yaml", "--out", "r")
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+basicKey))
	for _, want := range []string{"Bearer " + bearerKey, basic, headerKey} {
		if !g.seen[want] {
			t.Errorf("the target was not shown %q", want)
		}
	}
	if r := p.summary.GetRequests(); r.GetFailed() != 15 || r.GetSucceeded() != 5 {
		t.Errorf("requests: %v %v", r, p.summary.GetErrors())
	}
	texts := map[string]string{"standard output": p.out.String(), "standard error": p.err.String()}
	again := execLoadline(t, dir, env, "report", "r")
	texts["output of report"] = again.out.String() + again.err.String()
	collect(t, p.folder, texts)
	for _, secret := range []string{bearerKey, basicKey, headerKey, "me:" + basicKey} {
		for _, form := range append(forms(secret), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("Bearer "+secret)), "=")) {
			for place, text := range texts {
				if strings.Contains(text, form) {
					t.Errorf("%s holds the secret as %q", place, form)
				}
			}
		}
	}
	if !strings.Contains(texts["requests.parquet: errors"], "***") || !strings.Contains(texts["requests.parquet: bodies"], "***") {
		t.Errorf("no answer with a masked secret was kept: %q", texts["requests.parquet: errors"])
	}
}

// collect adds every file of a run folder, and what is compressed in it in the clear.
func collect(t *testing.T, folder string, texts map[string]string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		texts[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.ReadFile[report.Row](filepath.Join(folder, "requests.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		texts["requests.parquet: errors"] += r.Error + "\n"
		texts["requests.parquet: bodies"] += r.Body + "\n"
	}
}
