package measure

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

var update = flag.Bool("update", false, "write golden files and the tables of docs/metrics.md anew")

// Series travel by number: ours are those of the schema, under the same names.
func TestSeriesAreTheSchemas(t *testing.T) {
	if got, want := len(All()), len(pb.Series_name)-1; got != want {
		t.Errorf("%d series, the schema has %d", got, want)
	}
	for _, s := range All() {
		want, ok := pb.Series_name[int32(s)]
		if got := "SERIES_" + strings.ToUpper(s.Name()); !ok || got != want {
			t.Errorf("series %d is %s, the schema says %q", s, got, want)
		}
	}
}

func TestEverySeriesIsDefined(t *testing.T) {
	for _, s := range All() {
		d := s.Definition()
		if d.Name == "" || d.Unit == "" || d.Per == "" || d.Formula == "" {
			t.Errorf("series %d lacks something: %+v", s, d)
		}
		if back, ok := SeriesByName(s.Name()); !ok || back != s {
			t.Errorf("%s leads to %d, want %d", s, back, s)
		}
	}
	for _, name := range []string{"", "nothing", "TTFT"} {
		if s, ok := SeriesByName(name); ok {
			t.Errorf("%q is series %d", name, s)
		}
	}
	if Series(0).Name() != "" || NumSeries.Unit() != "" {
		t.Error("a number that is no series has a name or a unit")
	}
}

func TestMeaningOfClasses(t *testing.T) {
	for class, known := range map[string]bool{
		ClassDNS: true, ClassCanceled: true, HTTPClass(429): true, GRPCClass(14): true, CheckClass("json"): true,
		"": false, "http_": false, "check_": false, "unheard_of": false,
	} {
		if got := Meaning(class); got != "" != known {
			t.Errorf("%q means %q", class, got)
		}
	}
}

func TestGRPCClasses(t *testing.T) {
	for code, want := range map[int]string{1: "grpc_cancelled", 4: "grpc_deadline_exceeded", 14: "grpc_unavailable", 16: "grpc_unauthenticated", 17: "grpc_17", -1: "grpc_-1"} {
		if got := GRPCClass(code); got != want {
			t.Errorf("code %d is %s, want %s", code, got, want)
		}
	}
}

func TestWriteMetrics(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(b.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("line %d has %d characters: %s", i+1, n, line)
		}
	}
	golden(t, "metrics.txt", b.Bytes())
}

func TestWriteMetricsJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMetricsJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back struct{ Series, Rates, Counters, Classes []map[string]string }
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Series) != len(All()) || len(back.Rates) != len(Rates()) || len(back.Counters) != len(Counts()) || len(back.Classes) != len(Classes()) {
		t.Errorf("lists of %d, %d, %d and %d", len(back.Series), len(back.Rates), len(back.Counters), len(back.Classes))
	}
	golden(t, "metrics.json", b.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; if that is meant, run the test with -update", path)
	}
}

// The tables of the user's page are those of the code.
func TestDocumentedTables(t *testing.T) {
	const path = "../../docs/metrics.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for name, table := range tables() {
		begin, end := fmt.Sprintf("<!-- begin %s -->\n", name), fmt.Sprintf("<!-- end %s -->", name)
		before, rest, ok := strings.Cut(text, begin)
		documented, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s lacks the marks of the table of %s", path, name)
		}
		if documented != table && !*update {
			t.Errorf("the table of %s in %s differs from the code; run the test with -update", name, path)
		}
		text = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func tables() map[string]string {
	var series, rates, counts, classes strings.Builder
	series.WriteString("| name | unit | formula | one value per | notes |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range All() {
		d := s.Definition()
		fmt.Fprintf(&series, "| `%s` | %s | %s | %s | %s |\n", d.Name, d.Unit, d.Formula, d.Per, d.Notes)
	}
	rates.WriteString("| name | unit | formula | notes |\n| --- | --- | --- | --- |\n")
	for _, d := range Rates() {
		fmt.Fprintf(&rates, "| `%s` | %s | %s | %s |\n", d.Name, d.Unit, d.Formula, d.Notes)
	}
	counts.WriteString("| name | what is counted | notes |\n| --- | --- | --- |\n")
	for _, d := range Counts() {
		fmt.Fprintf(&counts, "| `%s` | %s | %s |\n", d.Name, d.Formula, d.Notes)
	}
	classes.WriteString("| class | meaning |\n| --- | --- |\n")
	for _, c := range Classes() {
		fmt.Fprintf(&classes, "| `%s` | %s |\n", c.Name, c.Meaning)
	}
	return map[string]string{"series": series.String(), "rates": rates.String(), "counters": counts.String(), "classes": classes.String()}
}
