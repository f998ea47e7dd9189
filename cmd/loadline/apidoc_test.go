package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestAPIDoc holds docs/api.md to the schema and to the programs that the tests run: every call stands in it, every step of
// DriveRun, and its programs are those of examples/drive to the letter.
func TestAPIDoc(t *testing.T) {
	page := readDoc(t, "../../docs/api.md")
	methods := pb.File_loadline_v1_control_proto.Services().ByName("ControlService").Methods()
	for i := range methods.Len() {
		if name := string(methods.Get(i).Name()); !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("docs/api.md has no row for %s", name)
		}
	}
	steps := (&pb.DriveRunRequest{}).ProtoReflect().Descriptor().Oneofs().ByName("step").Fields()
	for i := range steps.Len() {
		if name := string(steps.Get(i).Name()); !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("docs/api.md has no row for %s", name)
		}
	}
	programs := map[string]string{"go": readDoc(t, "../../examples/drive/main.go"), "python": readDoc(t, "../../examples/drive/drive.py")}
	found := map[string]int{}
	for _, block := range regexp.MustCompile("(?s)```(go|python)\n(.*?)```").FindAllStringSubmatch(page, -1) {
		found[block[1]]++
		if !strings.Contains(programs[block[1]], block[2]) {
			t.Errorf("this is not in the program of examples/drive:\n%s", block[2])
		}
	}
	if found["go"] == 0 || found["python"] == 0 {
		t.Errorf("programs in docs/api.md: %v", found)
	}
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
