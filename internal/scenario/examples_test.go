package scenario_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const examplesDir = "../../examples"

// examples lists the scenario files under examples/.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examplesDir, "*.yaml"))
	if err != nil || len(files) < 7 {
		t.Fatalf("found %d examples, want at least 7 (%v)", len(files), err)
	}
	return files
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every example runs anywhere: it parses, uses the simulator, ends soon, finds its files, and says
// at its top how to run it.
func TestExamples(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data := readFile(t, file)
			s, err := scenario.Parse(scenario.Source{Name: file, Data: data})
			if err != nil {
				t.Fatal(err)
			}
			if head, _, _ := strings.Cut(string(data), "name:"); !strings.HasPrefix(head, "# ") || !strings.Contains(head, "loadline run examples/"+filepath.Base(file)) {
				t.Error("the comment at the top does not say how to run it")
			}
			if s.GetName() != strings.TrimSuffix(filepath.Base(file), ".yaml") {
				t.Errorf("its name is %q", s.GetName())
			}
			for _, target := range s.GetTargets() {
				if !strings.HasPrefix(target.GetUrl(), "sim://") {
					t.Errorf("target %s is at %s", target.GetName(), target.GetUrl())
				}
			}
			for _, f := range scenario.Files(s) {
				if _, err := os.Stat(filepath.Join(examplesDir, f.Path)); err != nil {
					t.Errorf("%s: %v", f.Field, err)
				}
			}
			if length := timed(s); length > 30*time.Second {
				t.Errorf("lasts %v", length)
			}
		})
	}
}

// timed adds up the durations of a scenario, steps included.
func timed(s *pb.Scenario) time.Duration {
	var now, end time.Duration
	for _, p := range s.GetLoad() {
		if p.HasAt() {
			now = p.GetAt().AsDuration()
		}
		now += p.GetDuration().AsDuration()
		if st := p.GetOpen().GetSteps(); st != nil {
			now += time.Duration((st.GetTo()-st.GetFrom())/st.GetBy()+1) * st.GetEvery().AsDuration()
		}
		end = max(end, now)
	}
	return end
}
