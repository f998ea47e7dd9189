package coordinator

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// folderWithTraps makes a run folder beside which secrets lie, with links that lead to them.
func folderWithTraps(t *testing.T) (folder string) {
	t.Helper()
	base := t.TempDir()
	folder = filepath.Join(base, "run")
	for name, text := range map[string]string{
		"secret": "secret", "run/summary.json": "{}", "run/journal/0001": strings.Repeat("x", 3*fetchChunk+1), "run/.summary.json.123": "half", "run/empty": "",
	} {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"run/link": "../secret", "run/absolute": filepath.Join(base, "secret"), "run/up": "..", "run/inner": "summary.json"} {
		if err := os.Symlink(to, filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestAFolderListsItsPlainFilesAlone(t *testing.T) {
	files, err := digestFolder(t.Context(), folderWithTraps(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.GetPath())
	}
	if want := []string{"empty", "journal/0001", "summary.json"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	if sum := sha256.Sum256([]byte("{}")); string(files[2].GetSha256()) != string(sum[:]) || files[2].GetSize() != 2 {
		t.Errorf("summary.json has another digest: %v", files[2])
	}
}

func TestNothingOutsideARunFolderIsOpened(t *testing.T) {
	folder := folderWithTraps(t)
	long := strings.Repeat("a", 5000)
	for _, name := range []string{
		"", ".", "..", "../secret", "/etc/passwd", "journal/../../secret", "journal/..", "./summary.json", "link", "absolute", "up", "up/secret", "inner",
		"journal", "journal/", "//etc/passwd", "summary.json/", `..\secret`, "secret\x00", "summary.json\x00.txt", "\xff", ".summary.json.123", "none", long,
		"journal//0001", "C:/secret", "/dev/stdin", "../run/summary.json", "journal/./0001", filepath.Join(folder, "summary.json"),
	} {
		file, err := openFetched(folder, name)
		if status.Code(err) != codes.NotFound {
			t.Errorf("%q: %v, want not found", name, err)
		}
		if err == nil {
			_ = file.Close()
		}
	}
}

// sentChunks collects what a call sends.
type sentChunks struct {
	grpc.ServerStreamingServer[pb.FetchRunResponse]
	ctx    context.Context
	chunks [][]byte
}

func (s *sentChunks) Context() context.Context { return s.ctx }

func (s *sentChunks) Send(m *pb.FetchRunResponse) error {
	s.chunks = append(s.chunks, m.GetChunk())
	return nil
}

func TestAFileIsSentInChunksFromAnyOffset(t *testing.T) {
	folder := folderWithTraps(t)
	size := int64(3*fetchChunk + 1)
	for _, offset := range []int64{0, 1, fetchChunk, size - 1, size, size + 5} {
		file, err := openFetched(folder, "journal/0001")
		if err != nil {
			t.Fatal(err)
		}
		sent := &sentChunks{ctx: t.Context()}
		if err := sendFile(file, offset, sent); err != nil {
			t.Errorf("offset %d: %v", offset, err)
		}
		_ = file.Close()
		got := int64(0)
		for _, chunk := range sent.chunks {
			got += int64(len(chunk))
			if len(chunk) > fetchChunk {
				t.Errorf("a chunk of %d bytes", len(chunk))
			}
		}
		if want := max(0, size-offset); got != want {
			t.Errorf("offset %d: %d bytes, want %d", offset, got, want)
		}
	}
}
