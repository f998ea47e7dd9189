package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// fileName is the one file of a journal's folder.
const fileName = "00000001.journal"

// ErrDamaged is wrapped by the error of a journal that is damaged before its end.
var ErrDamaged = errors.New("the journal is damaged")

// Replay hands every record of the journal in folder to visit, in the order in which they were
// appended, and returns how many bytes of a torn tail it left out (0 after a clean end). A frame
// whose commit was interrupted is a torn tail: nothing in it was acknowledged. Any other damage is
// an error that wraps ErrDamaged and names the offset. An error of visit ends the replay.
func Replay(folder string, visit func(*pb.JournalRecord) error) (torn int64, err error) {
	file, err := os.Open(filepath.Join(folder, fileName))
	if err != nil {
		return 0, fmt.Errorf("open the journal: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the journal: %w", err)
	}
	return replay(file, info.Size(), visit)
}

// replay reads frame by frame, so that memory is bounded by a frame and not by the journal.
func replay(file io.ReaderAt, size int64, visit func(*pb.JournalRecord) error) (torn int64, err error) {
	head := make([]byte, len(fileHeader))
	if n, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the journal: %w", err)
	} else if string(head[:n]) != fileHeader {
		return 0, fmt.Errorf("%w: it does not begin as a journal does", ErrDamaged)
	}
	for at := int64(len(fileHeader)); at < size; {
		body, err := frameAt(file, size, at)
		if errors.Is(err, errShort) || errors.Is(err, errHeader) || errors.Is(err, errBody) {
			return tail(file, size, at, err)
		}
		if err != nil {
			return 0, fmt.Errorf("read the journal: %w", err)
		}
		if err := eachRecord(body, visit); err != nil {
			return 0, fmt.Errorf("journal frame at byte %d: %w", at, err)
		}
		at += frameHeader + int64(len(body))
	}
	return 0, nil
}

// frameAt reads the frame that begins at a byte.
func frameAt(file io.ReaderAt, size, at int64) ([]byte, error) {
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
	length := int64(leUint32(header[4:]))
	data := make([]byte, min(frameHeader+length, size-at))
	if _, err := file.ReadAt(data, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	body, _, err := readFrame(data)
	return body, err
}

func leUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
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
