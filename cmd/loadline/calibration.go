package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"

	"github.com/loadline/loadline/coordinator/calibrate"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// calibrationFile is where a calibration is kept, below the user's cache folder.
const calibrationFile = "loadline/calibration.json"

// machine is what a calibration made now is true of.
func (a *app) machine(ctx context.Context) calibrate.Machine {
	b := buildVersion()
	m := calibrate.Machine{Cores: a.cores, OS: b.OS, Arch: b.Arch, Go: b.Go, Version: b.Version}
	if m.Cores == 0 {
		m.Cores = runtime.GOMAXPROCS(0)
	}
	if all, err := cpu.InfoWithContext(ctx); err == nil && len(all) > 0 {
		m.CPU = all[0].ModelName
	}
	return m
}

// keepCalibration writes a calibration so that its name stands for the old content or the new, and
// returns the name.
func (a *app) keepCalibration(c calibrate.Calibration) (path string, err error) {
	cache, err := a.cache()
	if err != nil {
		return "", fmt.Errorf("there is no cache folder: %w", err)
	}
	path = filepath.Join(cache, calibrationFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".calibration.json.*")
	if err != nil {
		return "", err
	}
	if err := errors.Join(calibrate.Encode(file, c), file.Sync(), file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return path, nil
}

// roofline is the most that this machine can do, as far as it was calibrated; else nil. A calibration that does not
// fit is left aside, and the log says why.
func (a *app) roofline(ctx context.Context, log *slog.Logger) *pb.Roofline {
	cache, err := a.cache()
	if err != nil {
		return nil // nothing can have been kept
	}
	path := filepath.Join(cache, calibrationFile)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ignored := func(why any) *pb.Roofline {
		log.Warn("the calibration of this machine is left aside; loadline calibrate makes a new one", "file", path, "why", why)
		return nil
	}
	if err != nil {
		return ignored(err)
	}
	defer file.Close()
	c, err := calibrate.Decode(file)
	if err != nil {
		return ignored(err)
	}
	if why := c.Differs(a.machine(ctx)); why != "" {
		return ignored(why)
	}
	return c.Roofline()
}
