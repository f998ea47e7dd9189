package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// smallDisk serves a coordinator whose data lies on a disk of 1 MiB, in a namespace of its own in which it may mount. The
// disk is full while the file "fill" is there.
const smallDisk = `
mkdir disk && mount -t tmpfs -o size=1m disk disk || exit 77
(
  until [ -e fill ]; do sleep 0.05; done
  dd if=/dev/zero of=disk/filler bs=4k 2>/dev/null
  while [ -e fill ]; do sleep 0.05; done
  rm disk/filler
) &
exec loadline coordinator --listen 127.0.0.1:0 --nats-listen 127.0.0.1:0 --data disk
`

// startOnSmallDisk starts such a coordinator and one agent.
func startOnSmallDisk(t *testing.T, f files) *clusterOf {
	t.Helper()
	c := &clusterOf{dir: f.write(t)}
	var err error
	c.coordinator, err = launch(t, c.dir, nil, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}, "sh", "-c", smallDisk)
	if err != nil {
		t.Skipf("this machine lets nobody make a namespace: %v", err)
	}
	for deadline := time.Now().Add(waitLimit); !servesAt.MatchString(c.coordinator.out.String()); time.Sleep(5 * time.Millisecond) {
		select {
		case <-c.coordinator.ended:
			t.Skipf("this machine lets nobody mount a small disk: %s", &c.coordinator.err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the coordinator does not come up")
		}
	}
	c.address = servesAt.FindStringSubmatch(c.coordinator.out.String())[1]
	c.join(t, "a1")
	c.wantAgents(t, 1)
	return c
}

// TestTheDiskOfTheCoordinatorIsFull (R11): what cannot be written is not acknowledged; agents keep it, and the run is whole when
// there is room again.
func TestTheDiskOfTheCoordinatorIsFull(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a run of some seconds")
	}
	w := serveTally(t)
	c := startOnSmallDisk(t, w.scenario(40, 7, "poisson", everyArrival))
	c.story(t)
	p := c.play(t, w)
	fill := filepath.Join(c.dir, "fill")
	if err := os.WriteFile(fill, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.coordinator.until(t, "it cannot write", func() bool {
		return strings.Contains(c.coordinator.err.String(), "no space left") || len(w.all()) > 240
	})
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	s := p.end(t)
	if absent := w.compare(t, s); absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if notes := strings.Join(s.GetNotes(), "\n"); !strings.Contains(notes, "journal") {
		t.Errorf("the report does not say that the journal could not be written: %q", notes)
	}
}
