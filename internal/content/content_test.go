package content

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// noise is bytes that no two seeds share.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func fileOf(path string, data []byte) *pb.FileDigest {
	sum := sha256.Sum256(data)
	return pb.FileDigest_builder{Path: path, Sha256: sum[:], Size: int64(len(data))}.Build()
}

func digestOf(t testing.TB, f *pb.FileDigest) Digest {
	t.Helper()
	d, err := DigestOf(f.GetSha256())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newStore(t testing.TB, max int64) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "files"), max)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put writes a file whole.
func put(s *Store, d Digest, data []byte) error {
	w, err := s.Write(d, int64(len(data)), 0)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Suspend())
	}
	return w.Commit()
}

func read(t testing.TB, s *Store, d Digest) []byte {
	t.Helper()
	file, _, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// dial serves a store over TCP on the loopback, on which streams break after some messages when cut > 0.
func dial(t testing.TB, s *Store, cut int) pb.FileServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if cut > 0 {
			stream = &breaking{ServerStream: stream, left: cut}
		}
		return handle(srv, stream)
	}))
	pb.RegisterFileServiceServer(g, NewService(s, slog.New(slog.DiscardHandler)))
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		serving.Wait()
	})
	return pb.NewFileServiceClient(conn)
}

// breaking is a stream that is lost after so many messages.
type breaking struct {
	grpc.ServerStream
	left int
}

var errLost = status.Error(codes.Unavailable, "lost")

func (b *breaking) SendMsg(m any) error {
	if b.left--; b.left < 0 {
		return errLost
	}
	return b.ServerStream.SendMsg(m)
}

func (b *breaking) RecvMsg(m any) error {
	if b.left--; b.left < 0 {
		return errLost
	}
	return b.ServerStream.RecvMsg(m)
}

// A file goes from a client over the coordinator to agents, through streams that break again and again,
// and each piece of it is sent on from where it ended.
func TestFilesArriveThroughStreamsThatBreak(t *testing.T) {
	data := noise(1, 5*chunkBytes+77)
	f, empty := fileOf("../../etc/passwd", data), fileOf("empty", nil)
	local, agent := newStore(t, 1<<30), newStore(t, 1<<30)
	client := dial(t, local, 4)
	opened := 0
	open := func(path string) (io.ReaderAt, int64, error) {
		opened++
		if path == "empty" {
			return bytes.NewReader(nil), 0, nil
		}
		return bytes.NewReader(data), int64(len(data)), nil
	}
	files := []*pb.FileDigest{f, empty}
	if err := Upload(t.Context(), client, files, open); err != nil {
		t.Fatal(err)
	}
	if opened < 4 {
		t.Errorf("the file was opened %d times: no stream broke", opened)
	}
	if err := Fetch(t.Context(), client, agent, files); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, agent, digestOf(t, f)), data) || len(read(t, agent, digestOf(t, empty))) != 0 {
		t.Error("what came differs")
	}
	before := opened
	if err := Upload(t.Context(), client, files[:1], open); err != nil || opened != before {
		t.Errorf("a file that is there was read again: %v", err)
	}
	entries, err := os.ReadDir(agent.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files in the store, %v", len(entries), err)
	}
}

// Bytes that are not those of their digest are refused on both ways, and do not stay.
func TestOtherBytesAreRefused(t *testing.T) {
	right, wrong := noise(1, 1000), noise(2, 1000)
	f := fileOf("f", right)
	d := digestOf(t, f)
	store := newStore(t, 1<<20)
	client := dial(t, store, 0)
	err := Upload(t.Context(), client, []*pb.FileDigest{f}, func(string) (io.ReaderAt, int64, error) {
		return bytes.NewReader(wrong), int64(len(wrong)), nil
	})
	if status.Code(errors.Unwrap(err)) != codes.InvalidArgument {
		t.Errorf("upload of other bytes: %v", err)
	}
	if n, _ := store.Present(d); n != 0 {
		t.Errorf("%d bytes of it stayed", n)
	}
	if err := os.WriteFile(store.path(d), wrong, 0o600); err != nil { // damaged on the coordinator's disk
		t.Fatal(err)
	}
	agent := newStore(t, 1<<20)
	if err := Fetch(t.Context(), client, agent, []*pb.FileDigest{f}); !errors.Is(err, ErrDigest) {
		t.Errorf("fetch of other bytes: %v", err)
	}
	if n, _ := agent.Present(d); n != 0 {
		t.Errorf("%d bytes of it stayed on the agent", n)
	}
	if err := Fetch(t.Context(), client, agent, []*pb.FileDigest{fileOf("g", wrong)}); status.Code(errors.Unwrap(err)) != codes.NotFound {
		t.Errorf("fetch of a file that is not there: %v", err)
	}
}

// The folder keeps its bound: what nobody needs goes, oldest use first, and what a run needs stays.
func TestRoomIsMadeFromWhatNobodyNeeds(t *testing.T) {
	s := newStore(t, 3500)
	var d []Digest
	for i := range 5 {
		data := noise(uint64(i), 1000)
		d = append(d, Digest(sha256.Sum256(data)))
		if i == 1 {
			s.Pin(d[0])
		}
		if i == 3 {
			file, _, err := s.Open(d[1]) // used lately
			if err != nil {
				t.Fatal(err)
			}
			_ = file.Close()
		}
		if err := put(s, d[i], data); err != nil {
			t.Fatal(err)
		}
	}
	var there []int
	for i := range d {
		if _, whole := s.Present(d[i]); whole {
			there = append(there, i)
		}
	}
	if len(there) != 3 || there[0] != 0 || there[2] != 4 {
		t.Errorf("files %v are there", there)
	}
	release := s.Pin(d...)
	data := noise(9, 1000)
	if err := put(s, sha256.Sum256(data), data); !errors.Is(err, ErrFull) {
		t.Errorf("a file beyond the bound: %v", err)
	}
	release()
	release()
	if err := put(s, sha256.Sum256(data), data); err != nil {
		t.Error(err)
	}
	if _, whole := s.Present(d[0]); !whole {
		t.Error("a file that is still pinned once was evicted")
	}
}

func TestAFileIsWrittenByOneAtATime(t *testing.T) {
	s := newStore(t, 1<<20)
	data := noise(1, 100)
	d := Digest(sha256.Sum256(data))
	w, err := s.Write(d, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(d, 100, 0); !errors.Is(err, ErrBusy) {
		t.Errorf("the second writer: %v", err)
	}
	if _, err := w.Write(append(data, 1)); !errors.Is(err, ErrDigest) {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err := w.Write(data[:60]); err != nil {
		t.Fatal(err)
	}
	if err := w.Suspend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(d, 100, 61); err == nil {
		t.Error("taken up beyond what is there")
	}
	if w, err = s.Write(d, 100, 60); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data[60:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil || !bytes.Equal(read(t, s, d), data) {
		t.Errorf("taken up: %v", err)
	}
}

// Names, links and foreign files in the folder are nothing to a store (T16).
func TestOnlyPlainFilesOfTheStoreCount(t *testing.T) {
	s := newStore(t, 1000)
	d := Digest(sha256.Sum256(nil))
	if err := os.Symlink("/etc/hostname", s.path(d)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "notes.txt"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, whole := s.Present(d); n != 0 || whole {
		t.Error("a link counts as a file")
	}
	data := noise(1, 900)
	if err := put(s, sha256.Sum256(data), data); err != nil {
		t.Errorf("a foreign file counts: %v", err)
	}
	if _, _, err := s.Open(Digest{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Each wrong field is named by its path, as ControlService does it.
func TestWrongFieldsAreNamed(t *testing.T) {
	store := newStore(t, 1<<20)
	client := dial(t, store, 0)
	data := noise(1, 10)
	good := fileOf("f", data)
	if err := put(store, digestOf(t, good), data); err != nil {
		t.Fatal(err)
	}
	has := func(files ...*pb.FileDigest) error {
		_, err := client.HasFiles(t.Context(), pb.HasFilesRequest_builder{Files: files}.Build())
		return err
	}
	send := func(q pb.PutFileRequest_builder) error {
		stream, err := client.PutFile(t.Context())
		if err == nil {
			_ = stream.Send(q.Build()) // CloseAndRecv says why it failed
			_, err = stream.CloseAndRecv()
		}
		return err
	}
	get := func(q pb.GetFileRequest_builder) error {
		stream, err := client.GetFile(t.Context(), q.Build())
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	sized := func(size int64) *pb.FileDigest {
		return pb.FileDigest_builder{Sha256: fileOf("g", noise(2, 10)).GetSha256(), Size: size}.Build()
	}
	for _, test := range []struct {
		err   error
		field string
	}{
		{has(make([]*pb.FileDigest, maxFiles+1)...), "files"},
		{has(good, &pb.FileDigest{}), "files[1].sha256"},
		{send(pb.PutFileRequest_builder{}), "file.sha256"},
		{send(pb.PutFileRequest_builder{File: sized(-1)}), "file.size"},
		{send(pb.PutFileRequest_builder{File: sized(MaxFile + 1)}), "file.size"},
		{send(pb.PutFileRequest_builder{File: sized(10), Offset: 11}), "offset"},
		{send(pb.PutFileRequest_builder{File: sized(10), Offset: -1}), "offset"},
		{send(pb.PutFileRequest_builder{File: sized(10), Data: data}), "data"},
		{send(pb.PutFileRequest_builder{File: sized(5), Data: data}), "data"},
		{get(pb.GetFileRequest_builder{}), "sha256"},
		{get(pb.GetFileRequest_builder{Sha256: good.GetSha256(), Offset: 11}), "offset"},
	} {
		got := ""
		for _, detail := range status.Convert(test.err).Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) == 1 {
				got = bad.GetFieldViolations()[0].GetField()
			}
		}
		if status.Code(test.err) != codes.InvalidArgument || got != test.field {
			t.Errorf("%v names %q, want %q", test.err, got, test.field)
		}
	}
}

func TestServiceRefuses(t *testing.T) {
	client := dial(t, newStore(t, 1000), 0)
	if _, err := client.HasFiles(t.Context(), pb.HasFilesRequest_builder{Files: []*pb.FileDigest{{}}}.Build()); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no digest: %v", err)
	}
	if _, err := client.HasFiles(t.Context(), pb.HasFilesRequest_builder{Files: make([]*pb.FileDigest, maxFiles+1)}.Build()); err == nil {
		t.Error("too many files are taken")
	}
	large := fileOf("large", noise(1, 2000))
	err := Upload(t.Context(), client, []*pb.FileDigest{large}, func(string) (io.ReaderAt, int64, error) {
		return bytes.NewReader(noise(1, 2000)), 2000, nil
	})
	if status.Code(errors.Unwrap(err)) != codes.ResourceExhausted || !strings.Contains(err.Error(), "large") {
		t.Errorf("beyond the bound: %v", err)
	}
	shrunk := fileOf("shrunk", noise(1, 20))
	err = Upload(t.Context(), client, []*pb.FileDigest{shrunk}, func(string) (io.ReaderAt, int64, error) {
		return bytes.NewReader(nil), 0, nil
	})
	if err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("a file that was changed: %v", err)
	}
}

// live is the heap that the latest collection found in use, in bytes: without garbage, of which there is more or less by chance.
func live() uint64 {
	one := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(one)
	return one[0].Value.Uint64()
}

// distribute sends one file from a store to several agents at once, and returns the most heap that was
// in use beyond what was before.
func distribute(t testing.TB, size, agents int) (most uint64) {
	t.Helper()
	store := newStore(t, 4<<30)
	f := fileOf("rows.jsonl", noise(3, size))
	if err := put(store, digestOf(t, f), noise(3, size)); err != nil {
		t.Fatal(err)
	}
	client := dial(t, store, 0)
	runtime.GC()
	before := live()
	ctx, cancel := context.WithCancel(t.Context())
	var group, watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			most = max(most, max(live(), before)-before)
			runtime.Gosched()
		}
	})
	for i := range agents {
		agent := newStore(t, 4<<30)
		group.Go(func() {
			if err := Fetch(t.Context(), client, agent, []*pb.FileDigest{f}); err != nil {
				t.Error(fmt.Errorf("agent %d: %w", i, err))
			}
		})
	}
	group.Wait()
	cancel()
	watch.Wait()
	return most
}

// However large a file and however many agents, nobody holds it in memory.
func TestADataSetIsNotHeldInMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	const size = 48 << 20
	most := distribute(t, size, 4)
	t.Logf("%d KiB of heap in use at the most", most>>10)
	if most > size/2 {
		t.Errorf("%d MiB of heap for a file of %d MiB to 4 agents", most>>20, size>>20)
	}
}

// BenchmarkDistribute sends 1 GiB to 20 agents, all of them in this process and on this disk.
func BenchmarkDistribute(b *testing.B) {
	const size, agents = 1 << 30, 20
	b.SetBytes(size * agents)
	for b.Loop() {
		b.ReportMetric(float64(distribute(b, size, agents))/(1<<20), "MiB-heap")
	}
}
