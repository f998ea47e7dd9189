package workload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// blockRows is how many rows share one base in the index: four bytes a row and an eighth of a byte more.
const blockRows = 64

// dataset is one JSONL file, indexed. A row is read from the file when it is asked for; in memory
// stands only where it begins. Empty lines are not rows.
type dataset struct {
	path  string
	file  io.ReaderAt
	size  int64
	base  []int64  // where the first row of each block begins
	delta []uint32 // where each row begins, from the base of its block
	empty uint64   // lines without content
	needs []need   // what the workloads that use it need of every row
}

// rows is the number of rows.
func (d *dataset) rows() uint64 { return uint64(len(d.delta)) }

// index reads the file once, notes where its rows begin and checks each.
func (d *dataset) index(p *problems) {
	if d.size > MaxFile {
		p.add("%s: has %d bytes; a data set may have at most %d (64 GiB)", d.path, d.size, int64(MaxFile))
		return
	}
	var fields []field
	buffer := int(min(d.size, MaxLine)) + len("\r\n")
	lines := lineReader{in: bufio.NewReaderSize(io.NewSectionReader(d.file, 0, d.size), buffer)}
	for lines.next() {
		if len(lines.line) == 0 && !lines.long {
			d.empty++
			continue
		}
		if d.rows() == MaxRows {
			p.add("%s:%d: a data set may have at most %d rows; cut the file", d.path, lines.number, MaxRows)
			return
		}
		report := func(err error) { p.add("%s:%d: %w", d.path, lines.number, err) }
		if err := d.add(lines.start); err != nil {
			report(err)
		} else if lines.long {
			report(fmt.Errorf("the line is longer than %d bytes (4 MiB)", MaxLine))
		} else {
			fields = d.check(lines.line, fields[:0], report)
		}
	}
	if lines.err != nil {
		p.add("%s: %w", d.path, lines.err)
	} else if d.rows() == 0 {
		p.add(`%s: holds no rows; each line must be an object such as {"prompt": "…"}`, d.path)
	}
}

// add notes where a row begins.
func (d *dataset) add(start int64) error {
	if len(d.delta)%blockRows == 0 {
		d.base = append(d.base, start)
	}
	delta := start - d.base[len(d.base)-1]
	if delta > math.MaxUint32 {
		return errors.New("the row stands more than 4 GiB behind the ones before it; take the empty lines out")
	}
	d.delta = append(d.delta, uint32(delta))
	return nil
}

// check validates one line in full and gives its members.
func (d *dataset) check(line []byte, fields []field, report func(error)) []field {
	if !utf8.Valid(line) {
		report(errors.New("the text is not UTF-8; convert the file"))
		return fields
	}
	if !json.Valid(line) {
		report(brokenAt(line))
		return fields
	}
	fields, err := members(line, fields)
	if err != nil {
		report(fmt.Errorf(`%w; each line must be an object such as {"prompt": "…"}`, err))
		return fields
	}
	for _, need := range d.needs {
		need.check(fields, report)
	}
	return fields
}

// brokenAt says where a line that is not JSON goes wrong. It quotes nothing of the file.
func brokenAt(line []byte) error {
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(line, new(json.RawMessage)), &syntax) {
		return fmt.Errorf("%w at byte %d of the line; each line must be one whole object", errBrokenJSON, syntax.Offset)
	}
	return fmt.Errorf("%w; each line must be one whole object", errBrokenJSON)
}

// load reads a row into the request's buffers.
func (d *dataset) load(row uint64, r *Request) error {
	start, end := d.offset(row), d.size
	if row+1 < d.rows() {
		end = d.offset(row + 1)
	}
	n := int(min(end-start, MaxLine+2))
	if cap(r.line) < n {
		r.line = make([]byte, n)
	}
	r.line = r.line[:n]
	read, err := d.file.ReadAt(r.line, start)
	if read < n {
		return fmt.Errorf("%s: row %d: %w", d.path, row, errors.Join(errChanged, err))
	}
	if i := bytes.IndexByte(r.line, '\n'); i >= 0 {
		r.line = r.line[:i]
	}
	if r.fields, err = members(r.line, r.fields[:0]); err != nil {
		return fmt.Errorf("%s: row %d: %w: %w", d.path, row, errChanged, err)
	}
	return nil
}

var errChanged = errors.New("the file has changed since it was checked")

func (d *dataset) offset(row uint64) int64 {
	return d.base[row/blockRows] + int64(d.delta[row])
}

// lineReader yields the lines of a JSONL file without their ends (LF or CRLF), and without the
// byte order mark that the first may begin with.
type lineReader struct {
	in     *bufio.Reader
	line   []byte // without surrounding white space; valid until the next call
	number uint64 // counted from 1
	start  int64  // where the line begins
	long   bool   // longer than MaxLine; line is empty
	err    error
	after  int64
}

func (l *lineReader) next() bool {
	l.start = l.after
	text, err := l.in.ReadSlice('\n')
	l.after += int64(len(text))
	l.number++
	l.long = err == bufio.ErrBufferFull
	for err == bufio.ErrBufferFull {
		var rest []byte
		rest, err = l.in.ReadSlice('\n')
		l.after += int64(len(rest))
	}
	if err != nil && err != io.EOF {
		l.err = err
		return false
	}
	if err == io.EOF && l.after == l.start {
		return false
	}
	if l.number == 1 && bytes.HasPrefix(text, []byte("\ufeff")) {
		text = text[len("\ufeff"):]
		l.start += int64(len("\ufeff"))
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	l.long = l.long || len(text) > MaxLine
	l.line = bytes.Trim(text, " \t\r")
	if l.long {
		l.line = nil
	}
	return true
}

// rowOf chooses the row for the arrival with a given ordinal in its workload.
type rowOf struct {
	data   *dataset
	order  pb.DatasetOrder
	draws  schedule.Stream
	output *law // length of the answer; nil: none
}

func (o *rowOf) row(ordinal uint64) uint64 {
	rows := o.data.rows()
	switch o.order {
	case pb.DatasetOrder_DATASET_ORDER_SHUFFLE:
		return permute(o.draws, rows, ordinal%rows)
	case pb.DatasetOrder_DATASET_ORDER_RANDOM:
		return below(o.draws.Uint64(ordinal), rows)
	default:
		return ordinal % rows
	}
}

// limit is the row's own limit on the answer's length in tokens; 0: it has none.
func limit(row []field) (uint64, error) {
	for _, key := range []string{"max_tokens", "output_tokens"} {
		value := find(row, key)
		if value == nil || string(value) == "null" {
			continue
		}
		n, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil || n < 1 || n > MaxTokens {
			return 0, fmt.Errorf("%q must be a whole number from 1 to %d", key, MaxTokens)
		}
		return n, nil
	}
	return 0, nil
}
