package sim

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// grpcStatus is where the codes of gRPC begin among the statuses that the ledger counts.
const grpcStatus = 1000

// speaksGRPC reports whether calls can have a fault of this kind: a message that breaks its encoding, or
// never ends, cannot be sent through gRPC.
func speaksGRPC(k Kind) bool {
	switch k {
	case KindFreeze, KindRefused, KindMalformed, KindEndless:
		return false
	default:
		return true
	}
}

// code is the code of gRPC for a status of HTTP.
func code(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	case http.StatusConflict:
		return codes.Aborted
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusInternalServerError:
		return codes.Internal
	case http.StatusNotImplemented:
		return codes.Unimplemented
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return codes.Unavailable
	}
	if httpStatus < http.StatusInternalServerError {
		return codes.FailedPrecondition
	}
	return codes.Unknown
}

func tooMany() error { return status.Error(codes.Unavailable, "too many requests in progress") }

// injected is the status of a fault, with the wait that it asks for.
func injected(f *Fault) error {
	st := status.New(code(f.Code), "The simulator was told to fail.")
	if f.RetryAfter > 0 {
		wait := f.RetryAfter.Truncate(time.Second)
		if wait < f.RetryAfter {
			wait += time.Second
		}
		if detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
			st = detailed
		}
	}
	return st.Err()
}

// before plays the faults that come before any answer.
func (x *rpc) before() error {
	if !x.server.knows(x.tag("authorization")) {
		return wrongKey()
	}
	if x.fault == nil {
		return nil
	}
	switch f := x.fault; f.Kind {
	case KindStatus:
		return injected(f)
	case KindWrongKey:
		return wrongKey()
	case KindSlowHeader:
		_, err := x.sleep.until(x.sleep.clock.now() + int64(f.For))
		return err
	case KindHang:
		return x.sleep.forever()
	}
	return nil
}

func wrongKey() error { return status.Error(codes.Unauthenticated, "Incorrect API key provided.") }

// suffer plays a fault that strikes among the messages. It returns nil where the answer goes on.
func (x *rpc) suffer() error {
	f := x.fault
	switch f.Kind {
	case KindReset:
		return x.reset()
	case KindStall:
		_, err := x.sleep.until(x.sleep.clock.now() + int64(f.For))
		return err
	case KindError:
		return &spoiled{injected(f)}
	default: // truncated: gRPC has no end without a status
		return &spoiled{status.Error(codes.Unavailable, "The simulator was told to break off.")}
	}
}

// spoiled is a status that ends an answer in the middle.
type spoiled struct{ error }

func (s *spoiled) Unwrap() error { return s.error }

// strikes reports whether the fault strikes before the only answer of a call.
func (x *rpc) strikes() bool {
	if x.fault == nil {
		return false
	}
	switch x.fault.Kind {
	case KindReset, KindTruncated, KindStall, KindError:
		return true
	default:
		return false
	}
}

// empty reports whether the answer is to have no message.
func (x *rpc) empty() bool { return x.fault != nil && x.fault.Kind == KindEmpty }

// conclude sorts the end of a call into an outcome and makes its status.
func (x *rpc) conclude(err error) error {
	var mid *spoiled
	st, isStatus := status.FromError(err)
	switch {
	case err == nil:
		if x.empty() {
			x.end.outcome = outcomeBroken
		}
	case errors.As(err, &mid):
		x.end.outcome = outcomeBroken
		st = status.Convert(mid.error)
	case errors.Is(err, errBroken):
		x.end.outcome = outcomeBroken
		st = status.New(codes.Unavailable, "reset")
	case x.fault != nil && x.fault.Kind == KindHang:
		x.end.outcome = outcomeBroken
		return status.Error(codes.Unavailable, "the simulator hung")
	case errors.Is(err, errQueueFull):
		x.end.outcome = outcomeRefused
		st = status.New(codes.Unavailable, "The queue is full.")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errStopped), x.ctx.Err() != nil:
		x.end.outcome = outcomeCanceled
		return status.Error(codes.Unavailable, "the simulator stops")
	case isStatus:
		x.end.outcome = outcomeRefused
	default:
		x.end.outcome = outcomeRefused
		st = status.New(codes.InvalidArgument, err.Error())
	}
	x.end.status = grpcStatus + int(st.Code())
	return st.Err()
}
