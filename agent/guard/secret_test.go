package guard_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/agent/guard"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const canary = `sk-canary/7+"=é&%x`

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := values[name]; return value, ok }
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("x", guard.MaxSecret)
	values := map[string]string{"KEY": "canary-1", "EMPTY": "", "LINES": "canary\nX-Evil: 1", "LONG": long + "x", "LONGEST": long}
	tests := map[string]struct{ env, file, want, err string }{
		"variable":            {env: "KEY", want: "canary-1"},
		"longest":             {env: "LONGEST", want: long},
		"not set":             {env: "NONE", err: "environment variable NONE: is not set; set it where the agent runs"},
		"empty":               {env: "EMPTY", err: "environment variable EMPTY: is empty"},
		"line end within":     {env: "LINES", err: "environment variable LINES: holds a control character, such as a line end within it, and cannot be sent"},
		"too long":            {env: "LONG", err: "environment variable LONG: is longer than 65536 bytes"},
		"file":                {file: write("a", "canary-2", 0o600), want: "canary-2"},
		"file, LF":            {file: write("b", "canary-2\n", 0o400), want: "canary-2"},
		"file, CRLF":          {file: write("c", "canary-2\r\n", 0o640), want: "canary-2"},
		"file, longest":       {file: write("d", long+"\r\n", 0o600), want: long},
		"file, two line ends": {file: write("e", "canary\n\n", 0o600), err: "holds a control character"},
		"file, too long":      {file: write("f", long+"xyz", 0o600), err: "is longer than 65538 bytes"},
		"file, missing":       {file: filepath.Join(dir, "none"), err: "no such file"},
		"file, a folder":      {file: dir, err: "is not a regular file"},
		"nothing":             {err: "a secret needs env or file"},
	}
	if runtime.GOOS != "windows" {
		open := write("open", "canary", 0o644)
		tests["file, open to all"] = struct{ env, file, want, err string }{file: open, err: "file " + open + ": everybody may read it (mode 0644); run: chmod o-rwx " + open}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ref := &pb.SecretRef{}
			if tt.env != "" {
				ref.SetEnv(tt.env)
			}
			if tt.file != "" {
				ref.SetFile(tt.file)
			}
			var r guard.Redactor
			got, err := guard.Secrets(env(values), guard.ReadFile, &r)(ref)
			if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("secret of %d bytes, %v; want %d bytes, %s", len(got), err, len(tt.want), tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error tells the value: %v", err)
			}
			if err == nil && strings.Contains(r.Redact("key "+got+" refused"), got) {
				t.Error("the redactor does not know the secret")
			}
		})
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	read := func(string, int64) ([]byte, fs.FileMode, error) { return nil, 0, errors.New("permission denied") }
	_, err := guard.Secrets(env(nil), read, new(guard.Redactor))(pb.SecretRef_builder{File: new("/k")}.Build())
	if err == nil || err.Error() != "file /k: permission denied" {
		t.Errorf("error = %v", err)
	}
}

// codings are the ways in which a secret may come to stand in a text.
func codings(secret string) map[string]string {
	quoted, _ := json.Marshal(secret)
	in := func(before, after string) []byte { return []byte(before + secret + after) }
	return map[string]string{
		"plain": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret),
		"query, lower case": lower(url.QueryEscape(secret)), "JSON": string(quoted), "Go": fmt.Sprintf("%q", secret),
		"hex": hex.EncodeToString([]byte(secret)), "HEX": fmt.Sprintf("%X", secret),
		"Base64": base64.StdEncoding.EncodeToString(in("", "")), "Base64 of a pair": base64.StdEncoding.EncodeToString(in("user:", "")),
		"Base64 within": base64.StdEncoding.EncodeToString(in("ab", "yz")), "Base64 for URLs": base64.URLEncoding.EncodeToString(in("a", "z")),
		"Base64, raw": base64.RawStdEncoding.EncodeToString(in("", "")), "Base64 for URLs, raw": base64.RawURLEncoding.EncodeToString(in("ab", "")),
	}
}

func lower(text string) string {
	return strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3D", "%3d", "%C3", "%c3", "%A9", "%a9").Replace(text)
}

// A secret is gone from a text, in whatever coding it stood there.
func TestTheRedactorMasksASecretInEveryCoding(t *testing.T) {
	var r guard.Redactor
	if err := r.Add(canary); err != nil {
		t.Fatal(err)
	}
	for name, coded := range codings(canary) {
		got := r.Redact("status 401: key " + coded + " is not known")
		if !strings.HasPrefix(got, "status 401: key ") || !strings.HasSuffix(got, " is not known") || !strings.Contains(got, "***") {
			t.Errorf("%s: %q", name, got)
		}
		// At most a few digits at either end, which the secret shares with its surroundings, may be left.
		rest := strings.NewReplacer("status 401: key ", "", " is not known", "", "***", "").Replace(got)
		if len(rest) > 10 {
			t.Errorf("%s: %q is left of %q", name, rest, coded)
		}
	}
}

func TestTheRedactorMasksASecretThatIsCutOff(t *testing.T) {
	var r guard.Redactor
	if err := r.Add("sk-0123456789abcdef"); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"key sk-0123456789abcde":         "key ***",
		"key sk-012":                     "key ***",
		"key sk-01":                      "key sk-01", // too short to tell from a word
		"sk-012 sk-0123 sk-01234":        "sk-012 sk-0123 ***",
		"key sk-0123456789abcdefsk-0123": "key ******",
		"":                               "",
		"nothing here":                   "nothing here",
		"Basic " + base64.StdEncoding.EncodeToString([]byte("u:sk-0123456789abcdef"))[:20]: "",
	}
	for text, want := range tests {
		got := r.Redact(text)
		if want == "" && text != "" {
			if !strings.HasSuffix(got, "***") {
				t.Errorf("%q gives %q", text, got)
			}
		} else if got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func TestNoSecretIsLeftInAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r guard.Redactor
		secrets := rapid.SliceOfN(rapid.StringMatching(`[A-Za-z0-9+/=%"\\é-]{4,40}`), 1, 5).Draw(t, "secrets")
		text := ""
		for _, secret := range secrets {
			if err := r.Add(secret); err != nil {
				t.Fatal(err)
			}
			text += rapid.StringMatching(`[a-z ]{0,5}`).Draw(t, "between") + secret
		}
		got := r.Redact(text)
		for _, secret := range secrets {
			if strings.Contains(got, secret) {
				t.Fatalf("%q is left in %q", secret, got)
			}
		}
	})
}

func TestTheRedactorsLimits(t *testing.T) {
	var r guard.Redactor
	if got := r.Redact("nothing is known"); got != "nothing is known" {
		t.Errorf("got %q", got)
	}
	for i := range 256 {
		if err := r.Add(fmt.Sprintf("secret-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Add("secret-0"); err != nil {
		t.Errorf("a secret that is known: %v", err)
	}
	if err := r.Add("one more"); err == nil {
		t.Error("secret 257 was taken")
	}
	if got := r.Redact(strings.Repeat("y", 1<<20)); len(got) > 64<<10 {
		t.Errorf("a text of 1 MiB gives one of %d bytes", len(got))
	}
}

func BenchmarkRedact(b *testing.B) {
	var r guard.Redactor
	for i := range 3 {
		if err := r.Add(fmt.Sprintf("sk-%048d", i)); err != nil {
			b.Fatal(err)
		}
	}
	text := strings.Repeat("connection reset by peer while reading the answer ", 20)
	for b.Loop() {
		r.Redact(text)
	}
}
