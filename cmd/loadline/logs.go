package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// logOptions are the flags of a process that tells its story in a log.
type logOptions struct{ form, level string }

func (o *logOptions) add(f *flags) {
	f.text(&o.form, "log", "text", "`FORM` of the log on standard error: text or json")
	f.text(&o.level, "log-level", "info", "least `LEVEL` that is logged: debug, info, warn or error")
}

// logger makes the log that the flags describe.
func (o *logOptions) logger(out io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, fmt.Errorf("--log-level %s: debug, info, warn or error", o.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(o.form) {
	case "text":
		return slog.New(slog.NewTextHandler(out, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, options)), nil
	default:
		return nil, fmt.Errorf("--log %s: text or json", o.form)
	}
}
