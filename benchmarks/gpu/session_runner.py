"""An engine or an ONNX file as the runtime runs it. Imports no torch: TensorRT may live in a Python without it."""

import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

from u2net.benchmarks.gpu.protocol import Open
from u2net.runtime.device import Device
from u2net.runtime.loading import ENGINE_SUFFIXES, load
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.session import Session
from u2net.runtime.trt.cuda import Cuda, PinnedMemory, Stream, open_cuda
from u2net.runtime.trt.running.arrays import new_device_array

OUTPUT = "d0"


class SessionRunner:
    """A session of the runtime."""

    def __init__(self, command: Open, tensor: FloatArray) -> None:
        path = Path(command.file)
        self._session = load(path, command.device, tf32=command.tf32, contexts=1, cuda_graph=command.cuda_graph)
        self.provider = f"{self._session.info.backend}, {self._session.info.provider}"
        self._device, self._tensor = Device.parse(command.device), tensor
        self._is_engine = path.suffix in ENGINE_SUFFIXES
        self._on_device: DeviceRun | None = None

    def infer(self, tensor: FloatArray) -> FloatArray:
        """See :class:`u2net.benchmarks.gpu.runners.Runner`."""
        return self._session.infer(tensor)[OUTPUT]

    def time_device(self, repeats: int, warmup: int) -> list[float] | None:
        """See :class:`u2net.benchmarks.gpu.runners.Runner`; ONNX Runtime tells no device time."""
        if not self._is_engine:
            return None
        if self._on_device is None:
            self._on_device = DeviceRun(self._session, self._device, self._tensor)
        return self._on_device.time(repeats, warmup)


class DeviceRun:
    """Runs of an engine from GPU memory to GPU memory, through the runtime's own zero-copy call."""

    def __init__(self, session: Session, device: Device, tensor: FloatArray) -> None:
        """Copy the input to the GPU."""
        cuda = self._cuda = open_cuda()
        cuda.use(device.index)
        self._session = session
        self._stream = Stream(cuda)
        batch, channels, height, width = tensor.shape
        self._input = new_device_array(cuda, (batch, channels, height, width), device.index)
        self._output = new_device_array(cuda, (batch, 1, height, width), device.index)
        pinned = PinnedMemory(cuda, tensor.nbytes)
        pinned.view(tensor.shape)[:] = tensor
        cuda.copy(self._input.address, pinned.address, tensor.nbytes, self._stream)
        self._stream.synchronize()

    def time(self, repeats: int, warmup: int) -> list[float]:
        """Seconds of single runs; see :class:`u2net.benchmarks.gpu.runners.Runner`."""
        for _ in range(warmup):
            self._run()
        events = [Event(self._cuda) for _ in range(repeats + 1)]
        events[0].record(self._stream)
        for event in events[1:]:
            self._run()
            event.record(self._stream)
        self._stream.synchronize()
        return [later.since(earlier) for earlier, later in pairwise(events)]

    def _run(self) -> None:
        self._session.infer(self._input, {OUTPUT: self._output}, stream=self._stream.handle)


class Event:
    """A point in a stream whose time is taken."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._event: Any = cuda.call("cudaEventCreateWithFlags", cuda.api.cudaEventDefault)
        weakref.finalize(self, cuda.api.cudaEventDestroy, self._event)

    def record(self, stream: Stream) -> None:
        """Put it behind what is in the stream now."""
        self._cuda.call("cudaEventRecord", self._event, stream.handle)

    def since(self, earlier: "Event") -> float:
        """Seconds from another event to this one; both have happened."""
        return float(self._cuda.call("cudaEventElapsedTime", earlier._event, self._event)) / 1e3
