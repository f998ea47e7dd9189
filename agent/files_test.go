package agent

import (
	"crypto/sha256"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// serveFiles is a coordinator that holds one file.
func serveFiles(t *testing.T, data string) (pb.FileServiceClient, []byte) {
	t.Helper()
	store, err := content.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	d := content.Digest(sha256.Sum256([]byte(data)))
	w, err := store.Write(d, int64(len(data)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterFileServiceServer(server, content.NewService(store, slog.New(slog.DiscardHandler)))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		serving.Wait()
	})
	return pb.NewFileServiceClient(conn), d[:]
}

// Whatever a scenario calls its files, an agent of a cluster opens what the coordinator sent for that
// name, and nothing of its own machine (T16).
func TestNamesOfAScenarioAreNoPathsOnAnAgent(t *testing.T) {
	const data = `{"prompt": "hello"}` + "\n"
	client, digest := serveFiles(t, data)
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	if err := os.WriteFile(own, []byte("secret of this machine"), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")
	names := []string{
		"rows.jsonl", own, "../own", "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "a/../../own", "nul\x00byte", "own\n", ".", "..", "",
		"~/own", "$HOME/own", "file:///etc/passwd", strings.Repeat("x/", 2000), "C:\\own", "\u202eown", "con", "own/.",
	}
	for _, name := range names {
		store, err := content.Open(cache, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		f := Files{Base: dir, Store: store, Named: []*pb.FileDigest{
			pb.FileDigest_builder{Path: name, Sha256: digest, Size: int64(len(data))}.Build(),
		}}
		if err := f.Fetch(t.Context(), client); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		r, size, err := f.Open(name)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		got := make([]byte, size)
		if _, err := r.ReadAt(got, 0); err != nil && err != io.EOF || string(got) != data {
			t.Errorf("%q: read %q, %v", name, got, err)
		}
		for _, other := range names {
			if other == name {
				continue
			}
			if _, _, err := f.Open(other); err == nil || !strings.Contains(err.Error(), "not among") {
				t.Errorf("%q was opened beside %q: %v", other, name, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files in the cache, %v", len(entries), err)
	}
}

func TestWithoutACacheFilesAreReadWhereTheyAre(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rows.jsonl"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := Files{Base: dir, Named: []*pb.FileDigest{pb.FileDigest_builder{Path: "rows.jsonl"}.Build()}}
	if err := f.Fetch(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, size, err := f.Open("rows.jsonl"); err != nil || size != 2 {
		t.Errorf("%d bytes, %v", size, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestADamagedFileLeavesTheCache(t *testing.T) {
	client, digest := serveFiles(t, "data")
	dir := t.TempDir()
	store, err := content.Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	named := []*pb.FileDigest{pb.FileDigest_builder{Path: "f", Sha256: digest, Size: 4}.Build()}
	p := &part{files: Files{Store: store, Named: named}, ctx: t.Context(), assignment: pb.Assignment_builder{Files: named}.Build()}
	if err := p.files.Fetch(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if err := p.checkFiles(); err != nil {
		t.Fatal(err)
	}
	d, _ := content.DigestOf(digest)
	if err := os.WriteFile(filepath.Join(dir, d.String()), []byte("DATA"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.checkFiles(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error = %v", err)
	}
	if _, whole := store.Present(d); whole {
		t.Error("it is still there")
	}
}
