package calibrate

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() Calibration {
	return Calibration{
		Format: Format, Measured: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Machine:  Machine{CPU: "Example 9000", Cores: 8, OS: "linux", Arch: "amd64", Go: "go1.26", Version: "v0.1.0"},
		Requests: Figure{Value: 24_000}, Events: Figure{Value: 150_000}, Streams: Figure{Value: 16_000, AtLeast: true},
		TTFTServiceP50US: 120, TTFTServiceP99US: 410,
		Lateness: []Lateness{{Rate: 200, P50US: 60, P99US: 95}, {Rate: 24_000, P50US: 80, P99US: 700}},
	}
}

func TestTheFileReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := Encode(&b, sample()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/calibration.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/calibration.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the form has changed (-want +got):\n%s", diff)
	}
	got, err := Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := map[string]struct{ data, want string }{
		"nothing":         {"", "EOF"},
		"cut off":         {`{"format": 1,`, "EOF"},
		"another version": {`{"format": 2, "measured_time": "2026-03-01T12:00:00Z"}`, "its form is version 2"},
		"another field":   {`{"format": 1, "speed": 3}`, `unknown field "speed"`},
		"below zero":      {`{"format": 1, "streams": {"value": -1}}`, "cannot unmarshal"},
		"absurd":          {`{"format": 1, "measured_time": "2026-03-01T12:00:00Z", "streams": {"value": 9999999999999}}`, "larger than any machine's"},
		"without a time":  {`{"format": 1}`, "it says no time"},
		"more":            {`{"format": 1, "measured_time": "2026-03-01T12:00:00Z"} {}`, "something follows"},
		"endless":         {strings.Repeat(" ", MaxSize+1), "larger than 64 KiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode(strings.NewReader(test.data)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	if err := Encode(&b, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"format": 1, "measured_time": "2026-03-01T12:00:00Z", "lateness": [{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Encode(&again, c); err != nil {
			t.Fatal(err)
		}
		if !c.Roofline().GetMeasuredTime().IsValid() {
			t.Errorf("the time %v has no form in the schema", c.Measured)
		}
	})
}

func TestDiffers(t *testing.T) {
	tests := map[string]struct {
		change func(*Machine)
		want   string
	}{
		"the same":      {func(*Machine) {}, ""},
		"version":       {func(m *Machine) { m.Version = "v0.2.0" }, `another version, "v0.1.0", and this is "v0.2.0"`},
		"Go":            {func(m *Machine) { m.Go = "go1.27" }, "another Go version"},
		"processor":     {func(m *Machine) { m.CPU = "" }, "another processor"},
		"fewer cores":   {func(m *Machine) { m.Cores = 2 }, `another number of cores, "8", and this is "2"`},
		"other machine": {func(m *Machine) { m.Arch = "arm64" }, "another platform"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := sample().Machine
			test.change(&m)
			got := sample().Differs(m)
			if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("it says %q, want %q", got, test.want)
			}
		})
	}
}

// What is only known to be no lower is no limit for a run.
func TestRoofline(t *testing.T) {
	r := sample().Roofline()
	if r.GetRequestsPerSecond() != 24_000 || r.GetEventsPerSecond() != 150_000 || r.GetStreams() != 0 || r.GetTtftServiceP50Us() != 120 {
		t.Errorf("the roofline is %v", r)
	}
}
