package main

import (
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// plainError takes the transport's wrapping off an error of the ControlService: people read its message alone.
func plainError(err error) error {
	if s, ok := status.FromError(err); ok && s.Message() != "" {
		return errors.New(s.Message())
	}
	return err
}

// fromService gives an error of the ControlService its exit status: what was asked wrongly is bad input.
func fromService(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.AlreadyExists, codes.NotFound:
		return &failure{status: statusBadInput, err: plainError(err)}
	default:
		return &failure{status: statusUnforeseen, err: plainError(err)}
	}
}

// endOfStream is nil for the regular end of a stream.
func endOfStream(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return plainError(err)
}
