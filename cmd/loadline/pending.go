package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

type embeddedOptions struct {
	Agents  int
	Folder  string
	Env     func(string) (string, bool)
	Log     *slog.Logger
	Version string
}

func startEmbedded(ctx context.Context, o embeddedOptions) (client pb.ControlServiceClient, stop func() error, err error) {
	return nil, nil, errors.New("pending")
}

func recompute(folder string) (*pb.Summary, error) { return nil, errors.New("pending") }

func (a *app) writeSummary(s *pb.Summary, folder string, asJSON, noColor bool) error {
	fmt.Fprintln(a.stdout, protojson.Format(s))
	return nil
}

func (a *app) planCommand() *cobra.Command { return &cobra.Command{Use: "plan"} }
