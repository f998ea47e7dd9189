package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/loadline/loadline/internal/badrequest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// chunkBytes is how much one message carries.
	chunkBytes = 64 << 10
	// maxChunk bounds what one message may carry.
	maxChunk = 1 << 20
	// maxFiles bounds the files of one question.
	maxFiles = 512
)

// Service implements FileService on a store. Neither a file nor a large part of one is ever held in
// memory: it goes from the stream to the disk and from the disk to the stream, chunk by chunk.
type Service struct {
	pb.UnimplementedFileServiceServer
	store *Store
	log   *slog.Logger
}

// NewService makes the service.
func NewService(store *Store, log *slog.Logger) *Service {
	return &Service{store: store, log: log.With("component", "files")}
}

// HasFiles says which files are still to be uploaded.
func (s *Service) HasFiles(_ context.Context, q *pb.HasFilesRequest) (*pb.HasFilesResponse, error) {
	if len(q.GetFiles()) > maxFiles {
		return nil, badrequest.Field("files", "%d are more than %d", len(q.GetFiles()), maxFiles)
	}
	var present []int64
	for i, f := range q.GetFiles() {
		d, err := DigestOf(f.GetSha256())
		if err != nil {
			return nil, badrequest.Field(fmt.Sprintf("files[%d].sha256", i), "%v", err)
		}
		n, whole := s.store.Present(d)
		switch {
		case !whole && n == f.GetSize():
			n = max(0, n-1) // all of it says that it was checked
		case n > f.GetSize():
			n = 0 // what is there cannot be the beginning of it
		}
		present = append(present, n)
	}
	return pb.HasFilesResponse_builder{Present: present}.Build(), nil
}

// PutFile takes one file.
func (s *Service) PutFile(stream pb.FileService_PutFileServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	d, err := DigestOf(first.GetFile().GetSha256())
	if err != nil {
		return badrequest.Field("file.sha256", "%v", err)
	}
	size := first.GetFile().GetSize()
	switch {
	case size < 0 || size > MaxFile:
		return badrequest.Field("file.size", "a file has 0 to %d bytes, not %d", int64(MaxFile), size)
	case first.GetOffset() < 0 || first.GetOffset() > size:
		return badrequest.Field("offset", "%d does not lie within %d bytes", first.GetOffset(), size)
	}
	if have, whole := s.store.Present(d); whole && have == size {
		return stream.SendAndClose(pb.PutFileResponse_builder{Size: size}.Build())
	}
	w, err := s.store.Write(d, size, first.GetOffset())
	if err != nil {
		return statusOf(err)
	}
	if err := receive(stream, first, w); err != nil {
		return errors.Join(statusOf(err), w.Suspend())
	}
	if err := w.Commit(); err != nil {
		return statusOf(err)
	}
	s.log.Info("file received", "sha256", d, "bytes", size)
	return stream.SendAndClose(pb.PutFileResponse_builder{Size: size}.Build())
}

// receive writes what comes until the caller has closed its side.
func receive(stream pb.FileService_PutFileServer, m *pb.PutFileRequest, w *Writer) error {
	for {
		if len(m.GetData()) > maxChunk {
			return badrequest.Field("data", "%d bytes are more than %d", len(m.GetData()), maxChunk)
		}
		if _, err := w.Write(m.GetData()); err != nil {
			return err
		}
		var err error
		if m, err = stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// GetFile sends a file from an offset on.
func (s *Service) GetFile(q *pb.GetFileRequest, stream pb.FileService_GetFileServer) (err error) {
	d, err := DigestOf(q.GetSha256())
	if err != nil {
		return badrequest.Field("sha256", "%v", err)
	}
	file, size, err := s.store.Open(d)
	if err != nil {
		return statusOf(err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if q.GetOffset() < 0 || q.GetOffset() > size {
		return badrequest.Field("offset", "%d does not lie within %d bytes", q.GetOffset(), size)
	}
	return chunks(io.NewSectionReader(file, q.GetOffset(), size-q.GetOffset()), func(data []byte) error {
		return stream.Send(pb.GetFileResponse_builder{Data: data}.Build())
	})
}

// chunks reads to the end and hands on what fits one message, each in memory of its own: gRPC may
// look at a message after it was sent.
func chunks(r io.Reader, send func([]byte) error) error {
	for {
		buffer := make([]byte, chunkBytes)
		n, err := io.ReadFull(r, buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
