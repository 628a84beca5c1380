"""A worker on a simulated GPU, with the full TensorRT 8.6 and free memory that shrinks. Nothing of it needs a driver.

An engine computes the mean over the channels, whatever graph it was built from.
"""

import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:  # in a worker, which has the tree as the package u2net alone
    sys.path.append(str(ROOT))

from cuda import bindings  # noqa: E402

from tests.runtime.trt.fake_builder import NETWORK, Parser  # noqa: E402
from tests.runtime.trt.fake_cuda import FakeCudaRuntime, Work, entry, errors  # noqa: E402
from tests.runtime.trt.fake_tensorrt import FakeTensorRT  # noqa: E402
from u2net.runtime.artifact import Artifact  # noqa: E402
from u2net.runtime.preprocess import FloatArray  # noqa: E402
from u2net.runtime.trt.building.engine_options import EngineOptions  # noqa: E402

IMAGES = {"input": [-1, -1, -1, 3], "outputs": {"mask": 1}, "layers": [], "images": True}

TICK = 0.25
"""Milliseconds that a run takes on this GPU."""


class TimedCuda(FakeCudaRuntime):
    """Also tells free memory and times: an event's is the number of runs that are done before it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.times: dict[int, int] = {}

    def floats(self, address: int, shape: tuple[int, ...]) -> FloatArray:
        self.runs += shape[1] == 3 or len(shape) == 3  # each run looks once at its input, or at its masks
        return super().floats(address, shape)

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:
        return errors.cudaSuccess, 10**9 - 10**6 * len(self.live), 10**9

    @entry
    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        FakeCudaRuntime.cudaEventRecord.__wrapped__(self, event, stream)  # type: ignore[attr-defined]
        number = int(event)
        self._stream(stream).queue.append(Work(lambda: self.times.update({number: self.runs})))

    @entry
    def cudaEventElapsedTime(self, start: Any, end: Any) -> Any:
        if int(start) not in self.times or int(end) not in self.times:
            self.complain("the time of an event that has not happened")
        return (self.times[int(end)] - self.times[int(start)]) * TICK


def simulate(set_module: Callable[[str, Any], object]) -> tuple[TimedCuda, FakeTensorRT]:
    """Put the simulated CUDA and TensorRT in place of the real ones."""
    cuda = TimedCuda()
    trt = FakeTensorRT(cuda, "8.6")
    set_module("tensorrt", trt)
    return cuda, trt


def read_anything(self: Parser, path: str) -> bool:
    self.network.facts = IMAGES if "-images" in path else NETWORK
    return True


def main() -> None:
    """Serve. A build at level 5 never ends, and one at level 4 runs out of memory."""
    from u2net.benchmarks.suite import worker

    cuda, _ = simulate(sys.modules.__setitem__)
    bindings.runtime = cuda
    Parser.parse_from_file = read_anything  # type: ignore[method-assign]
    worker.CALLER_SECONDS = 0.2
    build = worker.Bench.compile_graph

    def compile_graph(graph: str, path: str, artifact: Artifact, options: EngineOptions) -> None:
        if options.opt_level == 5:
            time.sleep(600)
        cuda.allowed = 0 if options.opt_level == 4 else None
        build(graph, path, artifact, options)

    worker.Bench.compile_graph = staticmethod(compile_graph)
    worker.serve(Connection(int(sys.argv[1])), worker.Bench())


if __name__ == "__main__":
    main()
