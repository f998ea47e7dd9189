package calibrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Format is the version of the form in which a calibration is kept.
const Format = 1

// MaxSize is the most bytes of a calibration that are read: 64 KiB.
const MaxSize = 64 << 10

// Machine is what a calibration is true of.
type Machine struct {
	// CPU is the model of the processor, as the system names it; empty: unknown.
	CPU string `json:"cpu"`
	// Cores that the process may use.
	Cores int `json:"cores"`
	// OS and Arch as Go names them.
	OS   string `json:"os"`
	Arch string `json:"arch"`
	// Go is the version of Go that built the binary, Version that of the binary.
	Go      string `json:"go"`
	Version string `json:"version"`
}

// Figure is one limit that was searched for.
type Figure struct {
	// Value is the highest that held; 0: none did, or it was not looked for.
	Value uint64 `json:"value"`
	// AtLeast says that the search ended before anything higher failed, so that it is no limit.
	AtLeast bool `json:"at_least"`
}

// limit is the value where it is one.
func (f Figure) limit() uint64 {
	if f.AtLeast {
		return 0
	}
	return f.Value
}

// Lateness is how late sessions started at one rate.
type Lateness struct {
	// Rate of sessions a second.
	Rate uint64 `json:"rate"`
	// P50US and P99US are median and 99th percentile in microseconds.
	P50US uint64 `json:"p50_us"`
	P99US uint64 `json:"p99_us"`
}

// Calibration is what calibrate found.
type Calibration struct {
	// Format is the version of this form.
	Format int `json:"format"`
	// Measured is when it ended.
	Measured time.Time `json:"measured_time"`
	// Machine that it is true of.
	Machine Machine `json:"machine"`
	// Target is the address measured; empty: the null server beside it.
	Target string `json:"target"`
	// Requests a second, content events a second, and streams open at once.
	Requests Figure `json:"requests_per_second"`
	Events   Figure `json:"events_per_second"`
	Streams  Figure `json:"streams"`
	// TTFTServiceP50US and TTFTServiceP99US are what ttft_service reads when the server answers at once, in µs.
	TTFTServiceP50US uint64 `json:"ttft_service_p50_us"`
	TTFTServiceP99US uint64 `json:"ttft_service_p99_us"`
	// Lateness by rate, in the order of the rates.
	Lateness []Lateness `json:"lateness"`
}

// Encode writes a calibration in the form that Decode reads.
func Encode(w io.Writer, c Calibration) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write a calibration: %w", err)
	}
	if _, err := w.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write a calibration: %w", err)
	}
	return nil
}

// Decode reads what Encode wrote, and refuses anything else: other fields, another version of the
// form, figures that no machine has, and more than MaxSize bytes.
func Decode(r io.Reader) (Calibration, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Calibration{}, fmt.Errorf("read a calibration: %w", err)
	}
	if len(data) > MaxSize {
		return Calibration{}, fmt.Errorf("read a calibration: it is larger than %d KiB", MaxSize>>10)
	}
	var c Calibration
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Calibration{}, fmt.Errorf("read a calibration: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Calibration{}, errors.New("read a calibration: something follows its end")
	}
	return c, c.check()
}

// maxFigure is above what any machine does.
const maxFigure = 1_000_000_000_000

func (c Calibration) check() error {
	switch {
	case c.Format != Format:
		return fmt.Errorf("read a calibration: its form is version %d, and this build reads %d", c.Format, Format)
	case max(c.Requests.Value, c.Events.Value, c.Streams.Value) > maxFigure:
		return errors.New("read a calibration: a figure is larger than any machine's")
	case c.Measured.Year() < 2000, c.Measured.Year() > 9999:
		return errors.New("read a calibration: it says no time")
	}
	return nil
}

// Differs says why a calibration is not true of a machine; empty: it is.
func (c Calibration) Differs(m Machine) string {
	for _, d := range []struct{ what, kept, here string }{
		{"version", c.Machine.Version, m.Version},
		{"Go version", c.Machine.Go, m.Go},
		{"processor", c.Machine.CPU, m.CPU},
		{"number of cores", fmt.Sprint(c.Machine.Cores), fmt.Sprint(m.Cores)},
		{"platform", c.Machine.OS + "/" + c.Machine.Arch, m.OS + "/" + m.Arch},
	} {
		if d.kept != d.here {
			return fmt.Sprintf("it was made with another %s, %q, and this is %q", d.what, d.kept, d.here)
		}
	}
	return ""
}

// Roofline is what a run is held against: limits alone, nothing that is only known to be no lower.
func (c Calibration) Roofline() *pb.Roofline {
	return pb.Roofline_builder{
		RequestsPerSecond: float64(c.Requests.limit()), EventsPerSecond: float64(c.Events.limit()), Streams: c.Streams.limit(),
		MeasuredTime:     timestamppb.New(c.Measured),
		TtftServiceP50Us: c.TTFTServiceP50US, TtftServiceP99Us: c.TTFTServiceP99US,
	}.Build()
}
