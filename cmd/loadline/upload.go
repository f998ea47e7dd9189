package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/cmd/loadline/term"
	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// tellEvery is how often the progress of an upload is told.
const tellEvery = time.Second

// uploadFiles sends what the coordinator does not have, and tells how far it is on tell.
func uploadFiles(ctx context.Context, client pb.FileServiceClient, files []*pb.FileDigest, baseDir string, tell io.Writer) error {
	local := agent.Files{Base: baseDir}
	defer func() { _ = local.Close() }() // only read from
	return content.Upload(ctx, client, files, func(path string) (io.ReaderAt, int64, error) {
		file, size, err := local.Open(path)
		return &upload{file: file, name: path, size: size, tell: tell, told: time.Now()}, size, err
	})
}

// upload is a file that tells how far it has been read.
type upload struct {
	file io.ReaderAt
	name string
	size int64
	tell io.Writer
	told time.Time
}

// ReadAt implements io.ReaderAt.
func (u *upload) ReadAt(p []byte, at int64) (int, error) {
	n, err := u.file.ReadAt(p, at)
	if now := time.Now(); now.Sub(u.told) >= tellEvery {
		u.told = now
		done := at + int64(n)
		fmt.Fprintf(u.tell, "upload of %s: %s of %s (%d%%)\n", term.CleanLines(u.name), sizeText(done), sizeText(u.size), 100*done/max(1, u.size))
	}
	return n, err
}
