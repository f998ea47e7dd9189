package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/coordinator/calibrate"
	"github.com/loadline/loadline/coordinator/judge"
)

// calibrateLimit bounds a calibration, whatever happens.
const calibrateLimit = 2 * time.Minute

// calibrateOptions are the flags of calibrate.
type calibrateOptions struct {
	url  string
	json bool
}

func (a *app) calibrateCommand() *cobra.Command {
	o := &calibrateOptions{}
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Find the most that this machine can do as a generator",
		Long: `Find, in about 20 s, the most requests a second, streamed events a second and open streams that this machine can
generate with sessions still started in time, and the least ttft_service that it can read. The load goes through the same
parts as a run, against a server that does nothing, in a process of its own on a loopback port.

The result is kept in the cache folder of the user. Every run then says how much of it was used: above 70% a note warns,
above 90% the run is not valid. Calibrate while nothing else runs, and again with a new version or on another machine.`,
		Example: `  loadline calibrate
  loadline calibrate --json
  loadline calibrate --url http://10.0.0.7:8080/`,
		Args: noArguments,
		RunE: action(func(ctx context.Context, _ []string) error { return a.calibrate(ctx, o) }),
	}
	f := a.newFlags(cmd, calibrateVariablePrefix)
	f.text(&o.url, "url", "", "address `URL` to send GET requests to, instead of the server that does nothing, until it is too much; the result is not kept")
	f.yes(&o.json, "json", "the result as JSON")
	return cmd
}

// calibrate is the command calibrate.
func (a *app) calibrate(ctx context.Context, o *calibrateOptions) error {
	own, err := calibrateURL(o.url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, calibrateLimit)
	defer cancel()
	signals, watched := a.listen(), make(chan struct{})
	stopped := false
	go func() {
		defer close(watched)
		select {
		case <-signals:
			stopped = true
			cancel()
		case <-ctx.Done():
		}
	}()
	found, err := a.calibrated(ctx, own)
	cancel()
	<-watched
	switch {
	case stopped:
		return &failure{status: statusStopped, err: errors.New("stopped; nothing was kept")}
	case err != nil:
		return err
	}
	kept := ""
	if own == nil {
		if kept, err = a.keepCalibration(found); err != nil {
			fmt.Fprintf(a.stderr, "loadline: the result could not be kept: %v\n", err)
		}
	}
	if o.json {
		return calibrate.Encode(a.stdout, found)
	}
	return writeCalibration(a.stdout, found, kept)
}

// calibrateURL is the address of a plain HTTP endpoint of the user's own; nil: none is given.
func calibrateURL(address string) (*url.URL, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, badInput("--url: an address as http://127.0.0.1:8080/health is needed, without a user")
	}
	return u, nil
}

// calibrated starts what is needed, measures, and takes everything down again. own is the endpoint to be measured
// instead of the server that does nothing; nil: none.
func (a *app) calibrated(ctx context.Context, own *url.URL) (found calibrate.Calibration, err error) {
	c := &calibrator{progress: a.stderr, path: "/", strict: own == nil}
	var closers []func() error
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
	}()
	if own == nil {
		server, stop, err := a.null(ctx)
		if err != nil {
			return found, fmt.Errorf("start the server that does nothing: %w", err)
		}
		c.url, closers = "http://"+server, append(closers, stop)
	} else {
		fmt.Fprintf(a.stderr, "loading %s until it is too much: only for an endpoint of your own, or whose owner agreed\n", own)
		c.url, c.path, found.Target = own.Scheme+"://"+own.Host, own.RequestURI(), own.String()
	}
	dir, err := os.MkdirTemp("", "loadline-calibrate-")
	if err != nil {
		return found, fmt.Errorf("make a folder for the runs: %w", err)
	}
	closers = append(closers, func() error { return os.RemoveAll(dir) })
	client, stop, err := a.embedded(ctx, embeddedOptions{
		Agents: 1, Runs: dir, Cores: a.cores, Env: a.env, Version: buildVersion().Version,
		Log: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return found, err
	}
	c.client, closers = client, append(closers, stop)
	found.Format, found.Measured, found.Machine = calibrate.Format, time.Now().UTC().Truncate(time.Second), a.machine(ctx)
	return found, c.measure(ctx, &found)
}

// writeCalibration writes the result for people.
func writeCalibration(w io.Writer, c calibrate.Calibration, kept string) error {
	figure := func(f calibrate.Figure, unit string) string {
		switch {
		case f.Value == 0:
			return "not found"
		case f.AtLeast:
			return "at least " + judge.Count(f.Value) + unit + " (nothing higher was tried, so no run is held against it)"
		}
		return judge.Count(f.Value) + unit
	}
	text := fmt.Sprintf("machine       %s, %d cores, %s/%s, %s\nrequests      %s\n",
		c.Machine.CPU, c.Machine.Cores, c.Machine.OS, c.Machine.Arch, c.Machine.Go, figure(c.Requests, "/s"))
	if c.Target == "" {
		text += fmt.Sprintf("events        %s\nstreams       %s\n", figure(c.Events, "/s"), figure(c.Streams, " open at once"))
		text += fmt.Sprintf("ttft_service  p50 %s, p99 %s, where the server answers at once\n",
			judge.Quantity(float64(c.TTFTServiceP50US), judge.UnitMicros), judge.Quantity(float64(c.TTFTServiceP99US), judge.UnitMicros))
	}
	for i, l := range c.Lateness {
		title := "lateness"
		if i > 0 {
			title = ""
		}
		text += fmt.Sprintf("%-13s p50 %s, p99 %s at %s/s\n", title, judge.Quantity(float64(l.P50US), judge.UnitMicros),
			judge.Quantity(float64(l.P99US), judge.UnitMicros), judge.Count(l.Rate))
	}
	if kept != "" {
		text += "kept in       " + kept + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}
