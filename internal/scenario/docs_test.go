package scenario_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const docsFile = "../../docs/scenario.md"

// docsParts complete the fragments of the page: the parts that a fragment does not show.
var docsParts = map[string]string{
	"name":    "name: docs\n",
	"targets": "targets:\n  - {name: chat, url: \"sim://small\", protocol: openai-chat, model: m}\n  - {name: api, url: \"sim://small\", protocol: http}\n",
	"workloads": "workloads:\n  - {name: golden, target: chat, dataset: {file: g.jsonl}}\n" +
		"  - {name: short-questions, target: chat, synthetic: {input_tokens: {fixed: 1}}}\n",
	"load": "load:\n  - {name: hold, open: {rate: 1}, duration: 1m}\n",
}

var codeBlock = regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$")

// Every block of YAML on the page is a scenario, or a part of one, that parses.
func TestDocsParse(t *testing.T) {
	blocks := 0
	for _, m := range codeBlock.FindAllStringSubmatch(string(readFile(t, docsFile)), -1) {
		if m[1] != "yaml" {
			continue
		}
		blocks++
		text := m[2]
		if strings.HasPrefix(text, "targets:") && !strings.Contains(text, "\nworkloads:") { // with another target, the workloads need theirs to be named chat
			text += "workloads:\n  - {name: golden, target: chat, dataset: {file: g.jsonl}}\n"
		}
		for key, part := range docsParts {
			if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(text) {
				text += part
			}
		}
		if _, err := scenario.Parse(scenario.Source{Name: "docs", Data: []byte(text)}); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	if blocks < 12 {
		t.Errorf("found %d blocks", blocks)
	}
}

// The example of problems on the page is what Parse says.
func TestDocsProblems(t *testing.T) {
	page := string(readFile(t, docsFile))
	var source, want string
	for _, m := range codeBlock.FindAllStringSubmatch(page, -1) {
		switch m[1] {
		case "yaml broken":
			source = m[2]
		case "text":
			want = m[2]
		}
	}
	_, err := scenario.Parse(scenario.Source{Name: "example.yaml", Data: []byte(source)})
	if err == nil || err.Error()+"\n" != want {
		t.Errorf("the page should say:\n%v", err)
	}
}

// The page names every field that may be written, every choice, every series and every field that is refused.
func TestDocsAreComplete(t *testing.T) {
	page, refused, _ := strings.Cut(string(readFile(t, docsFile)), "## Not in this version")
	word := func(text, w string) bool {
		return regexp.MustCompile(`[^A-Za-z0-9_-]` + regexp.QuoteMeta(w) + `[^A-Za-z0-9_-]`).MatchString(text)
	}
	seen := map[protoreflect.FullName]bool{}
	var walk func(md protoreflect.MessageDescriptor)
	walk = func(md protoreflect.MessageDescriptor) {
		if seen[md.FullName()] || md.ParentFile().Package() != "loadline.v1" || md.Name() == "Objective" || md.Name() == "AbortCondition" || md.Name() == "HeaderValue" {
			return
		}
		seen[md.FullName()] = true
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			form := proto.GetExtension(fd.Options(), pb.E_Form).(*pb.FieldForm)
			if form.GetLater() {
				if !word(refused, string(fd.Name())) {
					t.Errorf("the page does not say that %s is refused", fd.FullName())
				}
				continue
			}
			if !word(page, string(fd.Name())) {
				t.Errorf("the page does not name %s", fd.FullName())
			}
			if fd.Message() != nil {
				walk(fd.Message())
			}
		}
	}
	walk((&pb.Scenario{}).ProtoReflect().Descriptor())
	if len(seen) < 35 {
		t.Errorf("saw %d messages only", len(seen))
	}
}

// The series that "good" may bound, as the page lists them.
func TestDocsListGoodSeries(t *testing.T) {
	page := string(readFile(t, docsFile))
	_, part, _ := strings.Cut(page, "Only series with one value a request:\n")
	listed, _, _ := strings.Cut(part, "\n")
	values := pb.Series_SERIES_TTFT.Descriptor().Values()
	for i := range values.Len() {
		name := strings.ToLower(strings.TrimPrefix(string(values.Get(i).Name()), "SERIES_"))
		_, err1 := scenario.ParseGood(name + " < 1s")
		_, err2 := scenario.ParseGood(name + " < 1")
		if may, says := err1 == nil || err2 == nil, strings.Contains(listed, "`"+name+"`"); may != says {
			t.Errorf("%s: may be bounded %v, the page says %v", name, may, says)
		}
	}
}
