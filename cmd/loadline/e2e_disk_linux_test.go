package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// fullDisk runs a load in a folder on a disk of 1 MiB, fills the disk up once the run has begun, and makes room again
// when its load is over: the last window needs more than what is left of the journal's last page. It runs in a namespace of its own, in which it may mount, and whose disk goes with it.
const fullDisk = `
mkdir disk && mount -t tmpfs -o size=1m disk disk || exit 77
loadline run s.yaml --out disk/r >out 2>err &
run=$!
until grep -q running err || ! kill -0 $run; do sleep 0.05; done
dd if=/dev/zero of=disk/filler bs=4k 2>/dev/null
until grep -q draining err || ! kill -0 $run; do sleep 0.05; done
sleep 1
rm disk/filler
wait $run
echo $? >status
loadline report disk/r --json >again
cp -r disk/r r
`

// TestFullDisk: while the disk of the journal is full, nothing is acknowledged and nothing is lost: the windows wait on the
// agents, and the run is whole when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := files{"s.yaml": strings.Replace(steadyFor(serveSim(t, nil)), "duration: 2s", "duration: 2500ms", 1)}.write(t)
	ctx, cancel := context.WithTimeout(t.Context(), processLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", fullDisk)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	told, err := cmd.CombinedOutput()
	if _, missing := os.Stat(filepath.Join(dir, "status")); missing != nil {
		t.Skipf("this machine lets nobody mount a small disk: %v: %s", err, told)
	}
	p := &played{dir: dir, folder: filepath.Join(dir, "r")}
	p.summary = summaryOf(t, p.folder)
	said := string(read(t, dir, "out")) + string(read(t, dir, "err"))
	checkLedger(t, p.summary)
	checkNoRemains(t, p.folder)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if a := p.summary.GetArrivals(); a.GetStarted() != 125 {
		t.Errorf("arrivals: %v\n%s", a, said)
	}
	degraded := false
	for _, r := range records(t, p.folder) {
		degraded = degraded || r.GetEvent().GetKind() == pb.RunEventKind_RUN_EVENT_KIND_DEGRADED
	}
	if words := strings.Join(p.summary.GetNotes(), "\n"); !degraded || !strings.Contains(words, "journal") {
		t.Errorf("the report does not say that the journal could not be written: %q\n%s", words, said)
	}
	if status := strings.TrimSpace(string(read(t, dir, "status"))); status != "0" && status != "98" {
		t.Errorf("exit status %s\n%s", status, said)
	}
	if again := string(read(t, dir, "again")); again != string(read(t, p.folder, "summary.json")) {
		t.Error("the report computed again is not the same")
	}
}
