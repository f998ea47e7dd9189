package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// ErrDamaged is wrapped by the error of a journal that is damaged before its end.
var ErrDamaged = errors.New("the journal is damaged")

// Replay hands every record of the journal in folder to visit, in the order in which they were
// appended, and returns how many bytes of a torn tail it left out (0 after a clean end). Where a
// checkpoint was made, its parts stand for the windows before it. A frame whose commit was interrupted
// is a torn tail: nothing in it was acknowledged. Any other damage is an error that wraps ErrDamaged
// and names the offset. An error of visit ends the replay.
func Replay(folder string, visit func(*pb.JournalRecord) error) (torn int64, err error) {
	found, err := list(folder)
	if err != nil {
		return 0, err
	}
	return replayFile(filepath.Join(folder, fileName(found.newest())), eachRecord, visit)
}

// Windows hands every window of the journal in folder whose request records are kept to visit: those
// that a checkpoint stands for have nothing but their records, and several of them may have been put
// together. An error of visit ends it.
func Windows(folder string, visit func(*pb.Window) error) error {
	found, err := list(folder)
	if err != nil {
		return err
	}
	each := func(record *pb.JournalRecord) error {
		if record.HasWindow() {
			return visit(record.GetWindow())
		}
		return nil
	}
	for _, o := range found.older() {
		if err := eachRecordOf(filepath.Join(folder, o.path), each); err != nil {
			return err
		}
	}
	_, err = replayFile(filepath.Join(folder, fileName(found.newest())), eachRecord, each)
	return err
}

// decoder hands the records of a frame's body to visit: eachRecord or eachLean.
type decoder func(body []byte, visit func(*pb.JournalRecord) error) error

func replayFile(path string, each decoder, visit func(*pb.JournalRecord) error) (torn int64, err error) {
	file, size, err := open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return replay(file, size, each, func(_ int64, record *pb.JournalRecord) error { return visit(record) })
}

// open opens a file of a journal, and tells its size.
func open(path string) (*os.File, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open the journal: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("read the journal: %w", err), file.Close())
	}
	return file, info.Size(), nil
}

// replay reads frame by frame, so that memory is bounded by a frame and not by the journal. visit is
// told where the frame of a record ends.
func replay(file io.ReaderAt, size int64, each decoder, visit func(end int64, record *pb.JournalRecord) error) (torn int64, err error) {
	head := make([]byte, len(fileHeader))
	if n, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the journal: %w", err)
	} else if string(head[:n]) != fileHeader {
		return 0, fmt.Errorf("%w: it does not begin as a journal does", ErrDamaged)
	}
	var room []byte
	for at := int64(len(fileHeader)); at < size; {
		body, err := frameAt(file, size, at, &room)
		if errors.Is(err, errShort) || errors.Is(err, errHeader) || errors.Is(err, errBody) {
			return tail(file, size, at, err)
		}
		if err != nil {
			return 0, fmt.Errorf("read the journal: %w", err)
		}
		end := at + frameHeader + int64(len(body))
		if err := each(body, func(record *pb.JournalRecord) error { return visit(end, record) }); err != nil {
			return 0, fmt.Errorf("journal frame at byte %d: %w", at, err)
		}
		at = end
	}
	return 0, nil
}

// frameAt reads the frame that begins at a byte. Its body lies in room, which grows as is needed: no record keeps any of it.
func frameAt(file io.ReaderAt, size, at int64, room *[]byte) ([]byte, error) {
	header := make([]byte, min(frameHeader, size-at))
	if _, err := file.ReadAt(header, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if _, _, err := readFrame(header); err != nil && !errors.Is(err, errShort) && !errors.Is(err, errBody) {
		return nil, err
	}
	if len(header) < frameHeader {
		return nil, errShort
	}
	length := int64(binary.LittleEndian.Uint32(header[4:]))
	whole := int(min(frameHeader+length, size-at))
	*room = slices.Grow((*room)[:0], whole)
	data := (*room)[:whole]
	if _, err := file.ReadAt(data, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	body, _, err := readFrame(data)
	return body, err
}

// tail decides whether the damage at a byte is a torn tail: it is when no whole frame stands after
// it, for frames are synced one after the other. An interrupted commit is at most one frame long.
func tail(file io.ReaderAt, size, at int64, cause error) (torn int64, err error) {
	if size-at > MaxFrame+frameHeader {
		return 0, fmt.Errorf("%w at byte %d of %d: %w", ErrDamaged, at, size, cause)
	}
	rest := make([]byte, size-at)
	if _, err := file.ReadAt(rest, at); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the journal: %w", err)
	}
	if len(rest) > 1 && holdsFrame(rest[1:]) {
		return 0, fmt.Errorf("%w at byte %d of %d: %w, and a whole frame follows", ErrDamaged, at, size, cause)
	}
	return size - at, nil
}

// First hands the records of the first frame of the journal in folder to visit, without reading what is behind it.
// It visits nothing where no whole frame was written.
func First(folder string, visit func(*pb.JournalRecord) error) (err error) {
	found, err := list(folder)
	if err != nil {
		return err
	}
	file, size, err := open(filepath.Join(folder, fileName(found.newest())))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var room []byte
	body, err := frameAt(file, size, int64(len(fileHeader)), &room)
	if errors.Is(err, errShort) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	return eachRecord(body, visit)
}

// lastBytes is how far from the end Last looks for a frame.
const lastBytes = 1 << 20

// Last hands the records of the last whole frame of the journal in folder to visit, without reading
// what is before it. It looks at the last MiB alone, and visits nothing where no frame lies in it.
func Last(folder string, visit func(*pb.JournalRecord) error) (err error) {
	found, err := list(folder)
	if err != nil {
		return err
	}
	file, size, err := open(filepath.Join(folder, fileName(found.newest())))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data := make([]byte, min(size, lastBytes))
	if _, err := file.ReadAt(data, size-int64(len(data))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the journal: %w", err)
	}
	for at := bytes.LastIndex(data, []byte(frameMagic)); at >= 0; at = bytes.LastIndex(data[:at], []byte(frameMagic)) {
		if body, _, err := readFrame(data[at:]); err == nil {
			return eachRecord(body, visit)
		}
	}
	return nil
}
