package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// fakeFolder serves files as a coordinator would, or as one that was taken over.
type fakeFolder struct {
	pb.ControlServiceClient // what is not played here panics

	files   map[string]string
	listed  []*pb.FileDigest  // over what files gives; nil: not
	sent    map[string]string // over what files gives
	breakAt int               // bytes after which each stream breaks; 0: it does not
	fault   error             // what every call fails with; nil: none
	fetches int
}

func (f *fakeFolder) GetRunFiles(context.Context, *pb.GetRunFilesRequest, ...grpc.CallOption) (*pb.GetRunFilesResponse, error) {
	if f.fault != nil {
		return nil, f.fault
	}
	answer := pb.GetRunFilesResponse_builder{Files: f.listed}.Build()
	for name, text := range f.files {
		if f.listed == nil {
			sum := sha256.Sum256([]byte(text))
			answer.SetFiles(append(answer.GetFiles(), pb.FileDigest_builder{Path: name, Sha256: sum[:], Size: int64(len(text))}.Build()))
		}
	}
	return answer, nil
}

func (f *fakeFolder) FetchRun(_ context.Context, q *pb.FetchRunRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[pb.FetchRunResponse], error) {
	f.fetches++
	text, changed := f.sent[q.GetPath()]
	if !changed {
		text = f.files[q.GetPath()]
	}
	return &fakeChunks{rest: text[q.GetOffset():], breakAt: f.breakAt}, nil
}

// fakeChunks sends a text in chunks of up to 7 bytes.
type fakeChunks struct {
	grpc.ServerStreamingClient[pb.FetchRunResponse]
	rest    string
	breakAt int
	given   int
}

func (c *fakeChunks) Recv() (*pb.FetchRunResponse, error) {
	if c.breakAt > 0 && c.given >= c.breakAt {
		return nil, status.Error(codes.Unavailable, "the connection broke")
	}
	if c.rest == "" {
		return nil, io.EOF
	}
	n := min(7, len(c.rest))
	chunk := c.rest[:n]
	c.rest, c.given = c.rest[n:], c.given+n
	return pb.FetchRunResponse_builder{Chunk: []byte(chunk)}.Build(), nil
}

func TestARunFolderIsFetchedWhole(t *testing.T) {
	for name, breakAt := range map[string]int{"at once": 0, "over broken connections": 14} {
		synctest.Test(t, func(t *testing.T) { // the pauses between attempts cost nothing
			f := &fakeFolder{files: map[string]string{"summary.json": "{}", "journal/0001": strings.Repeat("0123456789", 10), "empty": ""}, breakAt: breakAt}
			folder := filepath.Join(t.TempDir(), "deep", "r")
			if err := fetchRun(t.Context(), f, "id", folder); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for file, text := range f.files {
				if got := string(read(t, folder, file)); got != text {
					t.Errorf("%s: %s is %q", name, file, got)
				}
			}
			wantOnly(t, filepath.Dir(folder), "r")
			if breakAt > 0 && f.fetches < 8 {
				t.Errorf("%d streams: the test broke none", f.fetches)
			}
		})
	}
}

// wantOnly wants one name in a folder and nothing else, or nothing at all.
func wantOnly(t *testing.T, folder, name string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name {
			t.Errorf("%s was left in %s", e.Name(), folder)
		}
	}
	if (len(entries) == 1) != (name != "") {
		t.Errorf("%d entries in %s, want %q alone", len(entries), folder, name)
	}
}

// TestACoordinatorWritesNothingElse tries what one that was taken over could list and send.
func TestACoordinatorWritesNothingElse(t *testing.T) {
	digest := func(path string, size int64) *pb.FileDigest {
		sum := sha256.Sum256([]byte("x"))
		return pb.FileDigest_builder{Path: path, Sha256: sum[:], Size: size}.Build()
	}
	many := make([]*pb.FileDigest, maxFetchFiles+1)
	for i := range many {
		many[i] = digest("x", 1)
	}
	cases := map[string]*fakeFolder{
		"other content":    {files: map[string]string{"a": "x"}, sent: map[string]string{"a": "y"}},
		"less":             {files: map[string]string{"a": "xx"}, sent: map[string]string{"a": "x"}},
		"without end":      {files: map[string]string{"a": "x"}, sent: map[string]string{"a": strings.Repeat("x", 1<<20)}},
		"too many":         {listed: many},
		"a file twice":     {listed: []*pb.FileDigest{digest("x", 1), digest("x", 1)}, files: map[string]string{"x": "x"}},
		"a file as folder": {listed: []*pb.FileDigest{digest("x", 1), digest("x/y", 1)}, files: map[string]string{"x": "x", "x/y": "x"}},
		"negative":         {listed: []*pb.FileDigest{digest("x", -1)}},
		"an error":         {fault: status.Error(codes.NotFound, "no such run")},
	}
	for _, path := range []string{"", ".", "..", "../x", "/x", "a/../../x", "a//x", "./x", "x/", `a\..\..\x` + "\x00", strings.Repeat("x", maxFetchPath+1)} {
		cases["path "+path] = &fakeFolder{listed: []*pb.FileDigest{digest(path, 1)}, files: map[string]string{path: "x"}}
	}
	for name, f := range cases {
		parent := t.TempDir()
		err := fetchRun(t.Context(), f, "id", filepath.Join(parent, "r"))
		if err == nil || !strings.Contains(err.Error(), "loadline watch id") {
			t.Errorf("%s: %v, want an error that says what to do", name, err)
		}
		wantOnly(t, parent, "")
	}
}

func TestAFolderThatIsThereIsNotReplaced(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetchRun(t.Context(), &fakeFolder{files: map[string]string{"a": "x"}}, "id", folder); err == nil {
		t.Error("a folder with something in it was replaced")
	}
	wantOnly(t, folder, "mine")
}

func TestIDsThatCanNameAFolder(t *testing.T) {
	for id, want := range map[string]bool{
		"20261124-100501-k3f9": true, "": false, ".": false, "..": false, "a/b": false, `a\b`: false, "a b": false, ".x": false, strings.Repeat("a", 129): false, "é": false,
	} {
		if safeRunID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}
