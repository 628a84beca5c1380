"""One execution context with what it needs to run: a stream, memory on both sides, a CUDA graph."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from u2net.runtime.errors import ArtifactError, DeviceError, ProfileError
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.trt.contexts import ContextMaker
from u2net.runtime.trt.cuda import Address, Cuda, DeviceMemory, Graph, PinnedMemory, Stream
from u2net.runtime.trt.messages import log
from u2net.runtime.trt.profiles import Profile, Shape

FLOAT = 4
"""Bytes of a float32, the type of every input and output."""


@dataclass(frozen=True)
class Bindings:
    """What a slot was last set up for: a captured graph holds for exactly this."""

    shape: Shape
    input: Address
    outputs: tuple[Address, ...]
    through_host: bool
    """Whether the copies between pinned and device memory belong to the work."""


class Slot:
    """Runs one batch at a time, under one profile. Buffers are sized once, for the profile's largest shape."""

    def __init__(self, cuda: Cuda, maker: ContextMaker, index: int, profile: Profile, *, use_graph: bool) -> None:
        """Set up a context.

        Raises:
            OutOfMemoryError: GPU memory ran out.
            DeviceError: TensorRT cannot make the context.
        """
        self.profile = profile
        self.stream = Stream(cuda)
        self._cuda = cuda
        self._maker = maker
        self.context = maker.make(index, self.stream)
        self._memory: dict[str, tuple[PinnedMemory, DeviceMemory]] = {}
        self.shape: Shape | None = None
        """What the context is set up for now."""
        self._sizes: dict[str, Shape] = {}
        self._bindings: Bindings | None = None
        self._graph: Graph | None = None
        self._use_graph = use_graph
        self._runs = 0
        self._seen: set[Shape] = set()
        """What it ran on so far: kernels are compiled for new shapes."""

    def host_input(self, shape: Shape) -> FloatArray:
        """The pinned input, float32 of that shape, to be filled before :meth:`run`."""
        return self._pair(self._maker.input, shape[1])[0].view(shape)

    def run(self, shape: Shape) -> dict[str, FloatArray]:
        """Run on :meth:`host_input`; the outputs are views of pinned memory, valid until the next run."""
        sizes = self.set_shape(shape)
        source = self._pair(self._maker.input, shape[1])[1]
        pairs = {name: self._pair(name, size[1]) for name, size in sizes.items()}
        addresses = tuple(device.address for _, device in pairs.values())
        self._execute(Bindings(shape, source.address, addresses, through_host=True))
        self.stream.synchronize()
        return {name: pinned.view(sizes[name]) for name, (pinned, _) in pairs.items()}

    def run_on_device(self, shape: Shape, source: Address, targets: Mapping[str, Address]) -> None:
        """Enqueue a run from device memory to device memory, without waiting for it."""
        names = self.set_shape(shape)
        self._execute(Bindings(shape, source, tuple(targets[name] for name in names), through_host=False))

    def set_shape(self, shape: Shape) -> dict[str, Shape]:
        """Prepare for an input of that shape; gives each output's.

        Raises:
            ProfileError: TensorRT does not take it.
            ArtifactError: an output is not of the input's size.
        """
        if self.shape != shape:
            # A captured graph is tied to the state of its context: TensorRT leaves undefined what it does after this.
            self._graph, self._bindings, self._runs, self.shape = None, None, 0, None
            if not self.context.set_input_shape(self._maker.input, shape):
                raise ProfileError(f"TensorRT does not take {shape} under the profile {self.profile}")
            self._sizes = {name: four_sides(self.context.get_tensor_shape(name)) for name in self._maker.outputs}
            for name, size in self._sizes.items():
                if (size[0], *size[2:]) != (shape[0], *shape[2:]):  # the memory is not sized for it
                    raise ArtifactError(f"the engine is no U²-Net: for {shape} it gives {name!r} of {size}")
            self.shape = shape
        return self._sizes

    def _execute(self, bindings: Bindings) -> None:
        if bindings != self._bindings:
            self._bind(bindings)
        if self._graph is not None:
            self._graph.launch(self.stream)
            return
        if self._use_graph and self._runs and self._capture(bindings):
            return
        self._enqueue(bindings)
        self._runs += 1
        if bindings.shape not in self._seen:
            self._seen.add(bindings.shape)
            self._maker.keep_cache()

    def _bind(self, bindings: Bindings) -> None:
        self._graph, self._bindings, self._runs = None, None, 0
        names = (self._maker.input, *self._maker.outputs)
        for name, address in zip(names, (bindings.input, *bindings.outputs), strict=True):
            if not self.context.set_tensor_address(name, address):
                raise DeviceError(f"TensorRT does not take the address of {name!r}")
        self._bindings = bindings

    def _capture(self, bindings: Bindings) -> bool:
        """Record the work as a graph and launch it; False where it cannot be recorded, and nothing was run."""
        try:
            with self._cuda.capturing:
                self._graph = self._record(bindings)
        except DeviceError as error:
            log.warning("no CUDA graph for %s, each run is enqueued instead: %s", bindings.shape, error)
            self._use_graph = False
            return False
        self._graph.launch(self.stream)
        return True

    def _record(self, bindings: Bindings) -> Graph:
        mode = self._cuda.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.call("cudaStreamBeginCapture", self.stream.handle, mode)
        try:
            self._enqueue(bindings)
        except BaseException:
            status, unfinished = self._cuda.api.cudaStreamEndCapture(self.stream.handle)
            if status == self._cuda.api.cudaError_t.cudaSuccess:
                self._cuda.api.cudaGraphDestroy(unfinished)
            raise
        return Graph(self._cuda, self._cuda.call("cudaStreamEndCapture", self.stream.handle))

    def _enqueue(self, bindings: Bindings) -> None:
        if bindings.through_host:
            pinned, device = self._memory[self._maker.input]
            self._cuda.copy(device.address, pinned.address, byte_count(bindings.shape), self.stream)
        if not self.context.execute_async_v3(self.stream.handle):
            raise self._maker.failure("the run cannot be enqueued")
        if bindings.through_host:
            for name in self._maker.outputs:
                pinned, device = self._memory[name]
                self._cuda.copy(pinned.address, device.address, byte_count(self._sizes[name]), self.stream)

    def _pair(self, name: str, channels: int) -> tuple[PinnedMemory, DeviceMemory]:
        """Memory of a tensor on both sides, enough for the profile's largest batch, height and width."""
        if name not in self._memory:
            batch, _, height, width = self.profile.shapes()[2]
            size = byte_count((batch, channels, height, width))
            self._memory[name] = (PinnedMemory(self._cuda, size), DeviceMemory(self._cuda, size))
        return self._memory[name]


def byte_count(shape: Shape) -> int:
    """Bytes of a float32 tensor."""
    return math.prod(shape) * FLOAT


def four_sides(sides: Sequence[int]) -> Shape:
    """What a library calls a shape, as four plain numbers."""
    batch, channels, height, width = (int(side) for side in sides)
    return batch, channels, height, width
