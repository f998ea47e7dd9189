// Command drive looks for the highest rate that a model endpoint carries: it drives a run, raises the rate step by step until
// p99(ttft) is above 800 ms, and prints the last good rate. A search of your own begins here.
//
//	go run ./examples/drive 127.0.0.1:7400 examples/drive/chat.yaml
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: drive COORDINATOR SCENARIO")
		os.Exit(2)
	}
	if err := search(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// search is the step search.
func search(ctx context.Context, coordinator, file string) error {
	document, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	run, err := open(ctx, coordinator, document)
	if err != nil {
		return err
	}
	good := 0.0
	for rate := 5.0; rate <= 640; rate *= 2 {
		step, err := run.do(pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: &rate, Name: fmt.Sprintf("rate-%g", rate)}.Build()})
		if err != nil {
			return err
		}
		over, err := run.do(pb.DriveRunRequest_builder{Wait: pb.DriveWait_builder{
			Until: fmt.Sprintf("p99(ttft){phase=%s} > 800ms for 2s", step.GetPhase()), Limit: durationpb.New(5 * time.Second),
		}.Build()})
		if err != nil {
			return err
		}
		if over.GetMet() {
			break
		}
		good = rate
	}
	if _, err := run.do(pb.DriveRunRequest_builder{Stop: pb.DriveStop_builder{Reason: "the search is over"}.Build()}); err != nil {
		return err
	}
	fmt.Printf("run %s: good up to %g sessions a second\n", run.id, good)
	return run.end()
}

// driven is a run that this program drives.
type driven struct {
	stream grpc.BidiStreamingClient[pb.DriveRunRequest, pb.DriveRunResponse]
	id     string
	steps  int
}

// open opens a run. On loopback a coordinator needs no credentials; elsewhere give credentials.NewTLS in place of insecure.
func open(ctx context.Context, coordinator string, document []byte) (*driven, error) {
	conn, err := grpc.NewClient(coordinator, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	stream, err := pb.NewControlServiceClient(conn).DriveRun(ctx)
	if err != nil {
		return nil, err
	}
	d := &driven{stream: stream}
	answer, err := d.do(pb.DriveRunRequest_builder{Open: pb.DriveOpen_builder{Source: document}.Build()})
	d.id = answer.GetRunId()
	return d, err
}

// do sends a step and waits for its answer; what comes in between is shown.
func (d *driven) do(step pb.DriveRunRequest_builder) (*pb.DriveAnswer, error) {
	d.steps++
	// The id of an open must be the only one of its kind at the coordinator; those of steps, within the run.
	step.RequestId = fmt.Sprintf("%d-%d-%d", os.Getpid(), time.Now().UnixNano(), d.steps)
	if err := d.stream.Send(step.Build()); err != nil && !errors.Is(err, io.EOF) { // after EOF Recv says why
		return nil, err
	}
	for {
		m, err := d.stream.Recv()
		if err != nil {
			return nil, err
		}
		show(m)
		if a := m.GetAnswer(); a.GetRequestId() == step.RequestId {
			if a.GetCode() != 0 {
				return nil, errors.New(a.GetMessage())
			}
			return a, nil
		}
	}
}

// end waits until the run has ended.
func (d *driven) end() error {
	for {
		m, err := d.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		show(m)
	}
}

func show(m *pb.DriveRunResponse) {
	if s := m.GetSnapshot(); s != nil {
		for _, series := range s.GetSeries() {
			if series.GetName() == "ttft" {
				fmt.Printf("%4d s  %4d started  p99(ttft) %.0f ms\n", s.GetSecond(), s.GetStarted(), float64(series.GetP99())/1000)
			}
		}
	}
}
