"""Looks for the highest rate that a model endpoint carries: drives a run, raises the rate step by step until p99(ttft) is
above 800 ms, and prints the last good rate. It uses grpcio and the stubs that scripts/python-stubs makes from proto/, nothing else.

    python drive.py COORDINATOR SCENARIO
"""

import queue
import sys
import uuid

import grpc
from google.protobuf.duration_pb2 import Duration

from loadline.v1 import control_pb2 as pb
from loadline.v1 import control_pb2_grpc as service


class Driven:
    """A run that this program drives."""

    def __init__(self, coordinator, document):
        # On loopback a coordinator needs no credentials; elsewhere use grpc.secure_channel.
        self.steps = queue.SimpleQueue()
        channel = grpc.insecure_channel(coordinator)
        self.messages = service.ControlServiceStub(channel).DriveRun(iter(self.steps.get, None))
        self.id = self.do(open=pb.DriveOpen(source=document)).run_id

    def do(self, **step):
        """Sends a step and waits for its answer; what comes in between is shown."""
        request = pb.DriveRunRequest(request_id=str(uuid.uuid4()), **step)
        self.steps.put(request)
        for message in self.messages:
            show(message)
            if message.answer.request_id == request.request_id:
                if message.answer.code:
                    raise RuntimeError(message.answer.message)
                return message.answer
        raise RuntimeError("the stream has ended")

    def end(self):
        """Waits until the run has ended."""
        for message in self.messages:
            show(message)
        self.steps.put(None)


def show(message):
    for series in message.snapshot.series:
        if series.name == "ttft":
            print(f"{message.snapshot.second:4} s  {message.snapshot.started:4} started  p99(ttft) {series.p99 / 1000:.0f} ms")


def search(coordinator, file):
    """The step search."""
    with open(file, "rb") as f:
        run = Driven(coordinator, f.read())
    good, rate = 0, 5
    while rate <= 640:
        step = run.do(set=pb.DriveSet(rate=rate, name=f"rate-{rate}"))
        until = f"p99(ttft){{phase={step.phase}}} > 800ms for 2s"
        if run.do(wait=pb.DriveWait(until=until, limit=Duration(seconds=5))).met:
            break
        good, rate = rate, rate * 2
    run.do(stop=pb.DriveStop(reason="the search is over"))
    print(f"run {run.id}: good up to {good} sessions a second")
    run.end()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: drive.py COORDINATOR SCENARIO")
    search(sys.argv[1], sys.argv[2])
