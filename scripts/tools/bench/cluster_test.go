package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestClusterBounds(t *testing.T) {
	good := swarmFigures{agents: 1000, every: 1, Cores: 0.5, peak: 512 << 20, BehindMaxMS: 2000, AssignedMS: 2000, WindowsPerSec: 990, StopP99MS: 5000}
	for name, c := range map[string]struct {
		change func(*swarmFigures)
		want   string
	}{
		"at the bounds":             {func(*swarmFigures) {}, ""},
		"CPU":                       {func(f *swarmFigures) { f.Cores = 0.51 }, "CPU"},
		"memory":                    {func(f *swarmFigures) { f.peak++ }, "memory"},
		"behind":                    {func(f *swarmFigures) { f.BehindMaxMS = 2001 }, "behind"},
		"assignments":               {func(f *swarmFigures) { f.AssignedMS = 2001 }, "assigned"},
		"windows that do not come":  {func(f *swarmFigures) { f.WindowsPerSec = 970 }, "windows"},
		"a window every 2 s":        {func(f *swarmFigures) { f.every, f.WindowsPerSec = 2, 495 }, ""},
		"a window every 2 s, slow":  {func(f *swarmFigures) { f.every, f.WindowsPerSec = 2, 480 }, "windows"},
		"a missing window":          {func(f *swarmFigures) { f.Missing = 1 }, "missing windows"},
		"stop of a hundred":         {func(f *swarmFigures) { f.agents, f.StopP99MS = 100, 1001 }, "stop"},
		"four thousand are unbound": {func(f *swarmFigures) { f.agents, f.Cores, f.peak = 4000, 3, 4<<30 }, ""},
	} {
		f := good
		c.change(&f)
		if got := strings.Join(f.broken(), " "); got != c.want {
			t.Errorf("%s: %q is beyond its bound, want %q", name, got, c.want)
		}
		var out bytes.Buffer
		if err := judgeCluster(&out, []swarmFigures{f}); errors.Is(err, errBroken) != (c.want != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSwarmIsRead(t *testing.T) {
	f, err := parseSwarm([]byte("steady\nscale: {\"Cores\":0.25,\"State\":\"aborted\"}\nPASS\n"))
	if err != nil || f.Cores != 0.25 || f.State != "aborted" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := parseSwarm([]byte("PASS\n")); err == nil {
		t.Error("nothing was said, and that is no error")
	}
	for text, want := range map[string][]int{"100,1000": {100, 1000}, "0": nil, "4001": nil, "a": nil, "": nil} {
		if got, err := agentNumbers(text); !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
