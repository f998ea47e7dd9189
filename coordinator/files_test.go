package coordinator

import (
	"crypto/sha256"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// A run on a cluster begins when its files are here, and they stay while it goes on.
func TestARunNeedsItsFiles(t *testing.T) {
	store, err := content.Open(t.TempDir(), 1500)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := begin(t)
	c.config.Files = store
	put := func(text string) (*pb.FileDigest, error) {
		d := content.Digest(sha256.Sum256([]byte(text)))
		f := pb.FileDigest_builder{Path: "rows.jsonl", Sha256: d[:], Size: int64(len(text))}.Build()
		w, err := store.Write(d, f.GetSize(), 0)
		if err != nil {
			return f, err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return f, w.Commit()
	}
	missing := pb.FileDigest_builder{Path: "rows.jsonl", Sha256: make([]byte, 32), Size: 7}.Build()
	if _, err := c.keepFiles([]*pb.FileDigest{missing}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "rows.jsonl is not here") {
		t.Errorf("a file that was not uploaded: %v", err)
	}
	if _, err := c.keepFiles([]*pb.FileDigest{{}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a file without a digest: %v", err)
	}
	f, err := put(strings.Repeat("a", 1000))
	if err != nil {
		t.Fatal(err)
	}
	release, err := c.keepFiles([]*pb.FileDigest{f})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(strings.Repeat("b", 1000)); err == nil {
		t.Error("the file of a live run was evicted")
	}
	release()
	if _, err := put(strings.Repeat("b", 1000)); err != nil {
		t.Errorf("after the run: %v", err)
	}
	if _, err := c.keepFiles([]*pb.FileDigest{f}); err == nil {
		t.Error("an evicted file is taken for there")
	}
	again := &liveRun{ended: make(chan struct{}), log: c.log, header: pb.RunHeader_builder{Files: []*pb.FileDigest{missing, f}}.Build()}
	if _, err = put(strings.Repeat("a", 1000)); err != nil {
		t.Fatal(err)
	}
	c.keepFilesOf(again)
	if _, err := put(strings.Repeat("b", 1000)); err == nil {
		t.Error("the file of a run that was taken up again was evicted")
	}
	close(again.ended)
}
