package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentedFlags holds docs/cli.md to the flags that there are, both ways, command by command.
func TestDocumentedFlags(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	a := newTestApp(t, nil, nil)
	want := map[string][]string{}
	for _, cmd := range a.root().Commands() {
		if cmd.Hidden {
			continue // not for people
		}
		want[cmd.Name()] = nil
		if f := a.flags[cmd.Name()]; f != nil {
			want[cmd.Name()] = slices.Sorted(slices.Values(f.names))
		}
	}
	want["completion"] = nil // cobra's own

	got := map[string][]string{}
	heading := regexp.MustCompile("^## `loadline ([a-z]+)")
	row := regexp.MustCompile("^\\| `--([a-z-]+)")
	command := ""
	for line := range strings.Lines(string(page)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			command = m[1]
			got[command] = nil
		} else if m := row.FindStringSubmatch(line); m != nil {
			got[command] = append(got[command], m[1])
		}
	}
	for _, names := range got {
		slices.Sort(names)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/cli.md and the flags differ (-flags +page):\n%s", diff)
	}
}

// TestEveryCommandHasHelp wants an example and a sentence for each command, and a description for each flag.
func TestEveryCommandHasHelp(t *testing.T) {
	a := newTestApp(t, nil, nil)
	for _, cmd := range a.root().Commands() {
		if cmd.Hidden {
			continue
		}
		if cmd.Example == "" || cmd.Long == "" || cmd.Short == "" {
			t.Errorf("%s: no example or no description", cmd.Name())
		}
		for _, name := range a.names(cmd) {
			if flag := cmd.Flags().Lookup(name); flag == nil || flag.Usage == "" {
				t.Errorf("%s: --%s is not described", cmd.Name(), name)
			}
		}
	}
}

// TestMentionedFlagsExist holds every other page to flags that there are.
func TestMentionedFlagsExist(t *testing.T) {
	a := newTestApp(t, nil, nil)
	a.root()
	known := map[string]bool{"help": true}
	for f := range maps.Values(a.flags) {
		for _, name := range f.names {
			known[name] = true
		}
	}
	pages, err := os.ReadDir("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"../../README.md"}
	for _, p := range pages {
		if strings.HasSuffix(p.Name(), ".md") {
			names = append(names, "../../docs/"+p.Name())
		}
	}
	command := regexp.MustCompile(`loadline [a-z][^` + "`" + `\n]*`)
	flag := regexp.MustCompile(`(?:^|\s)--([a-z-]+)`)
	for _, name := range names {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range command.FindAllString(string(page), -1) {
			for _, m := range flag.FindAllStringSubmatch(line, -1) {
				if !known[m[1]] {
					t.Errorf("%s: there is no flag --%s: %s", name, m[1], line)
				}
			}
		}
	}
}
