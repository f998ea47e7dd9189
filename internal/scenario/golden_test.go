package scenario_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/scenario"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each file under testdata/errors is wrong in many ways; the golden file beside it is what a person reads.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.[yj]*")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d files (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := scenario.Parse(scenario.Source{Name: filepath.Base(file), Data: readFile(t, file)})
			if err == nil || s != nil {
				t.Fatal("it parses")
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "secret") && strings.Contains(got, "secret-") {
				t.Error("a secret stands in the message")
			}
			golden := strings.TrimSuffix(file, filepath.Ext(file)) + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(readFile(t, golden)); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
