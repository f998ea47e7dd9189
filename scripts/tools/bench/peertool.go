package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// installLimit bounds the installation of one tool.
const installLimit = 20 * time.Minute

// source is where a tool comes from.
type source int

const (
	fromDebian source = iota
	fromGo
	fromCargo
)

// tool is one program of others. Those of Go and Cargo are pinned; Debian gives one version a release.
type tool struct {
	name    string
	from    source
	pkg     string
	version string
}

func tools() []tool {
	return []tool{
		{"wrk", fromDebian, "wrk", ""},
		{"h2load", fromDebian, "nghttp2-client", ""},
		{"oha", fromCargo, "oha", "1.16.0"},
		{"hey", fromGo, "github.com/rakyll/hey", "v0.1.5"},
		{"vegeta", fromGo, "github.com/tsenart/vegeta/v12", "v12.13.0"},
		{"k6", fromGo, "go.k6.io/k6", "v1.8.1"},
		{"ghz", fromGo, "github.com/bojand/ghz/cmd/ghz", "v0.93.0"},
	}
}

// peersFolder is where installed tools lie: never in a folder of the system or of its user's PATH.
func peersFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "loadline", "peers"), nil
}

// find is the path of a tool: what was installed for us, or else what the system has.
func (t tool) find(folder string) (string, error) {
	path := filepath.Join(folder, "bin", t.name)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	return exec.LookPath(t.name)
}

// is the version of the program at path, as far as it says.
func (t tool) is(ctx context.Context, path string) string {
	if info, err := buildinfo.ReadFile(path); err == nil && info.Main.Version != "" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	flag := "--version"
	if t.name == "wrk" {
		flag = "-v" // which it ends with a usage and status 1
	}
	out, _ := exec.CommandContext(ctx, path, flag).CombinedOutput()
	return regexp.MustCompile(`\d+(\.\d+)+`).FindString(string(out))
}

// command installs the tool, with the least priority: others may be using the machine.
func (t tool) command(folder string) (argv, env []string) {
	switch t.from {
	case fromDebian:
		return []string{"apt-get", "install", "-y", "--no-install-recommends", t.pkg}, []string{"DEBIAN_FRONTEND=noninteractive"}
	case fromGo:
		return []string{"nice", "-n", "19", "go", "install", t.pkg + "@" + t.version}, []string{"GOBIN=" + filepath.Join(folder, "bin"), "GOFLAGS="}
	default:
		return []string{"nice", "-n", "19", "cargo", "install", t.pkg, "--version", t.version, "--locked", "--root", folder}, nil
	}
}

func (t tool) install(ctx context.Context, folder string) error {
	if t.from == fromDebian && os.Geteuid() != 0 {
		return errors.New("only root may install Debian packages")
	}
	argv, env := t.command(folder)
	needed := argv[0]
	if needed == "nice" {
		needed = argv[3]
	}
	if _, err := exec.LookPath(needed); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(folder, "bin"), 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// Outside our module, whose go.mod has no say in it.
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	withParent(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(out))
	}
	return nil
}

// found is a tool that is there.
type found struct{ path, version string }

// gather finds the tools, installs those missing if asked, and says what is left out and how to get it.
// Which are not wanted is not looked at.
func (b *bench) gather(ctx context.Context, folder string, install bool, wanted func(string) bool) map[string]found {
	all := map[string]found{}
	for _, t := range tools() {
		if !wanted(t.name) {
			continue
		}
		path, err := t.find(folder)
		if err != nil && install {
			argv, _ := t.command(folder)
			fmt.Fprintf(b.out, "installing %s: %s\n", t.name, strings.Join(argv, " "))
			if err = t.install(ctx, folder); err == nil {
				path, err = t.find(folder)
			}
			if err != nil {
				fmt.Fprintf(b.out, "%s could not be installed: %v\n", t.name, err)
				continue
			}
		}
		if err != nil {
			argv, env := t.command(folder)
			fmt.Fprintf(b.out, "%s is missing and left out; --install runs: %s\n", t.name, strings.Join(append(env, argv...), " "))
			continue
		}
		all[t.name] = found{path, t.is(ctx, path)}
	}
	return all
}
