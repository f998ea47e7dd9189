package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// standardInput is the file name that stands for it.
const standardInput = "-"

// document is a scenario as its writer gave it.
type document struct {
	name    string
	data    []byte
	baseDir string // absolute; file names within the scenario are relative to it
}

// readDocument reads a scenario file, or standard input for "-". Every error is the user's to
// mend, and leaves the name to the caller.
func (a *app) readDocument(name string) (document, error) {
	d := document{name: name, baseDir: filepath.Dir(name)}
	if name == standardInput {
		d.name, d.baseDir = "standard input", "."
	}
	base, err := filepath.Abs(d.baseDir)
	if err != nil {
		return d, fmt.Errorf("cannot tell the folder of %s: %w", name, err)
	}
	d.baseDir = base
	if name == standardInput {
		d.data, err = readBounded(a.stdin)
	} else {
		d.data, err = readScenarioFile(name)
	}
	if err != nil {
		return d, badInput("%w", err)
	}
	if bytes.IndexByte(d.data, 0) >= 0 || !utf8.Valid(d.data) {
		return d, badInput("this is not text; a scenario is YAML or JSON in UTF-8")
	}
	return d, nil
}

func readScenarioFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file; check the path, which is taken from the working folder")
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("this is a folder; name the scenario file within it")
	case info.Size() > scenario.MaxSource:
		return nil, tooLarge(info.Size())
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readBounded(file)
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, scenario.MaxSource+1))
	if err != nil {
		return nil, err
	}
	if len(data) > scenario.MaxSource {
		return nil, tooLarge(int64(len(data)))
	}
	return data, nil
}

func tooLarge(size int64) error {
	return fmt.Errorf("%d bytes or more are above the limit of %d (1 MiB); put long prompts into a data set file", size, scenario.MaxSource)
}

// load reads a scenario file and parses it.
func (a *app) load(name string, sets []string) (document, *pb.Scenario, error) {
	doc, err := a.readDocument(name)
	if err != nil {
		return doc, nil, fmt.Errorf("scenario %s: %w", doc.name, err)
	}
	s, err := doc.parse(sets)
	return doc, s, err
}

// parse reads the document with the overrides of --set. The error lists every problem.
func (d document) parse(sets []string) (*pb.Scenario, error) {
	s, err := scenario.Parse(scenario.Source{Name: d.name, Data: d.data}, sets...)
	if err != nil {
		return nil, &failure{status: statusBadInput, err: fmt.Errorf("the scenario cannot be used\n%w", err)}
	}
	return s, nil
}
