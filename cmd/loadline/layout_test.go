package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path before every import of our own.
const module = "github.com/loadline/loadline/"

// pure packages decide and compute; they are handed time, data and randomness (docs/architecture.md).
var pure = []string{
	"internal/scenario", "internal/schedule", "internal/hist", "internal/measure",
	"coordinator/run", "coordinator/drive", "coordinator/plan", "coordinator/fleet", "coordinator/merge", "coordinator/judge", "coordinator/report", "coordinator/calibrate",
	"agent/run", "agent/workload", "agent/record",
}

// rule forbids imports: where a file's package matches from, an import that matches to is an error.
type rule struct {
	from, to func(pkg string) bool
	because  string
}

func in(folders ...string) func(string) bool {
	return func(pkg string) bool {
		return slices.ContainsFunc(folders, func(f string) bool { return pkg == f || strings.HasPrefix(pkg, f+"/") })
	}
}

func exactly(pkgs ...string) func(string) bool {
	return func(pkg string) bool { return slices.Contains(pkgs, pkg) }
}

func either(a, b func(string) bool) func(string) bool {
	return func(pkg string) bool { return a(pkg) || b(pkg) }
}

func outside(folders ...string) func(string) bool {
	inside := in(folders...)
	return func(pkg string) bool { return !inside(pkg) }
}

func rules() []rule {
	return []rule{
		{in("coordinator"), in("agent"), "the two wings ship and fail apart; what both need is in internal/"},
		{in("agent"), in("coordinator"), "the two wings ship and fail apart; what both need is in internal/"},
		{outside("cmd"), in("cmd"), "cmd is the roof: nothing stands on it"},
		{in("internal", "proto"), in("coordinator", "agent"), "the hall below knows nothing of the wings"},
		{in("proto"), in("internal"), "the schema is a leaf"},
		{in("coordinator/merge", "coordinator/judge", "coordinator/report"), in("coordinator/run", "coordinator/ingest", "coordinator/fleet"),
			"a report is recomputed from the journal alone"},
		{in("agent/driver"), exactly("agent"), "a driver is a leaf; the agent builds it"},
		{exactly(pure...), either(in("github.com/nats-io", "google.golang.org/grpc", "os", "net/http", "log/slog", "math/rand"), exactly("net", "syscall")),
			"a pure package is replayable: no I/O, no log, no randomness of its own"},
		{outside("cmd"), either(exactly("flag", "os/signal"), in("github.com/spf13/cobra")), "flags and signals are touched in cmd alone"},
		{outside("cmd", "internal/bus"), in("github.com/nats-io/nats-server"), "the embedded server is the bus's business"},
		{outside("internal/bus"), in("github.com/nats-io/nats.go"), "one place knows NATS"},
		{outside("cmd/loadline/term"), in("charm.land"), "the live view is the only one that draws on a terminal"},
	}
}

// calls that are forbidden: package, function, where, why.
var calls = []struct {
	pkg     string
	names   []string
	from    func(string) bool
	because string
}{
	{"time", []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, exactly(pure...), "in a pure package time comes in as a value"},
	{"os", []string{"Exit"}, outside("cmd", "examples"), "only cmd ends the process"},
	{"os", []string{"Getenv", "LookupEnv", "Environ"}, outside("cmd"), "the environment is passed in as a function"},
	{"context", []string{"Background", "TODO"}, outside("cmd", "examples"), "whoever is called is given its context"},
}

// source is one parsed file that is neither a test nor generated.
type source struct {
	path, pkg string
	fset      *token.FileSet
	file      *ast.File
	lines     int
}

func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || rel == "scripts/tools" || rel == "runs") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{
			path: filepath.ToSlash(rel), pkg: filepath.ToSlash(filepath.Dir(rel)), fset: fset, file: file,
			lines: strings.Count(string(text), "\n"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files were found: the test looks in the wrong place", len(all))
	}
	return all
}

func TestImportRules(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			target := strings.TrimPrefix(path, module)
			for _, r := range rules() {
				if r.from(s.pkg) && r.to(target) {
					t.Errorf("%s imports %s: %s", s.path, target, r.because)
				}
			}
			if strings.HasPrefix(target, "agent/driver/") && strings.HasPrefix(s.pkg, "agent/driver/") {
				t.Errorf("%s imports %s: a driver imports no other driver", s.path, target)
			}
		}
	}
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := selector.X.(*ast.Ident)
			if !ok || x.Obj != nil {
				return true
			}
			for _, c := range calls {
				if x.Name == c.pkg && slices.Contains(c.names, selector.Sel.Name) && c.from(s.pkg) {
					t.Errorf("%s: %s.%s: %s", s.fset.Position(n.Pos()), c.pkg, selector.Sel.Name, c.because)
				}
			}
			return true
		})
	}
}

// TestSizes holds files and functions to the limits of CONTRIBUTING.md.
func TestSizes(t *testing.T) {
	const maxFile, maxFunction = 500, 70
	for _, s := range sources(t) {
		if s.lines > maxFile {
			t.Errorf("%s has %d lines, more than %d: split it by noun", s.path, s.lines, maxFile)
		}
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; n > maxFunction {
				t.Errorf("%s: %s has %d lines, more than %d", s.fset.Position(f.Pos()), f.Name.Name, n, maxFunction)
			}
			if f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s: init: say it in main instead", s.fset.Position(f.Pos()))
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		said[s.pkg] = said[s.pkg] || s.file.Doc != nil
	}
	for pkg, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// TestLayout holds the tree to the packages that docs/architecture.md names.
func TestLayout(t *testing.T) {
	root := filepath.Join("..", "..")
	allowed := strings.Fields("proto coordinator agent cmd deploy scripts internal docs examples buf.yaml go.mod go.sum README.md CONTRIBUTING.md LICENSE runs")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the root", e.Name())
		}
	}
	for _, s := range sources(t) {
		for _, part := range strings.Split(s.pkg, "/") {
			if slices.Contains([]string{"util", "utils", "common", "types", "pkg", "lib", "misc"}, part) {
				t.Errorf("%s: %q says nothing; name the package by its noun", s.path, part)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range pure {
		if _, err := os.Stat(filepath.Join(root, pkg)); err != nil {
			t.Errorf("the rules name %s, which is not there", pkg)
		}
	}
	for _, s := range sources(t) {
		if !strings.Contains(string(text), fmt.Sprintf("`%s`", s.pkg)) {
			t.Errorf("docs/architecture.md says nothing of `%s`", s.pkg)
		}
	}
}
