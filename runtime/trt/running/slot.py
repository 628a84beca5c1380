"""An execution context with everything it needs to run: a stream, memory on both sides, a CUDA graph."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from u2net.runtime.backend import Array
from u2net.runtime.errors import ArtifactError, DeviceError, ProfileError
from u2net.runtime.trt.cuda import Address, Cuda, CudaGraph, DeviceMemory, PinnedMemory, Stream
from u2net.runtime.trt.messages import trt_log
from u2net.runtime.trt.profiles import Shape, sides_of
from u2net.runtime.trt.running.contexts import ContextMaker

Memory = TypeVar("Memory", DeviceMemory, PinnedMemory)


class Slot:
    """Runs one batch at a time under one profile.

    Buffers are allocated on first use, for the profile's largest shape. The first run on a shape and set of addresses
    is enqueued, the second captured as a CUDA graph, later ones launch the graph. Copies to and from host memory are
    not part of the graph, so a graph stays valid whichever outputs are copied.
    """

    def __init__(self, cuda: Cuda, maker: ContextMaker, profile: int, *, use_graph: bool) -> None:
        """Make a context under the profile of that number."""
        self.profile = maker.profiles[profile]
        self.stream = Stream(cuda)
        self._cuda = cuda
        self._maker = maker
        self.context = maker.make(profile, self.stream)
        self._buffers: dict[tuple[type, str], Any] = {}
        self.shape: Shape | None = None
        """Input shape that the context is set to."""
        self.sizes: dict[str, Shape] = {}
        """Shapes of the input and the outputs at that input shape."""
        self._addresses: tuple[Address, ...] | None = None
        """Addresses that the context is set to: the input's, then the outputs'."""
        self._graph: CudaGraph | None = None
        self._use_graph = use_graph
        self._runs = 0
        self._seen: set[Shape] = set()
        """Shapes that were run: new ones may compile kernels."""

    def host_input(self, shape: Shape) -> Array:
        """Set the shape and return the pinned input, to be filled before :meth:`run`."""
        self.set_shape(shape)
        return self._memory(PinnedMemory, self._maker.input).view(shape, self._maker.dtypes[self._maker.input])

    def run(self, outputs: Sequence[str]) -> dict[str, Array]:
        """Run on :meth:`host_input` and return the named outputs: views of pinned memory, valid until the next run."""
        source = self._maker.input
        device = {name: self._memory(DeviceMemory, name).address for name in (source, *self._maker.outputs)}
        host = {name: self._memory(PinnedMemory, name) for name in (source, *outputs)}
        self._cuda.copy(device[source], host[source].address, self._byte_count(source), self.stream)
        self._execute(tuple(device.values()))
        for name in outputs:
            self._cuda.copy(host[name].address, device[name], self._byte_count(name), self.stream)
        self.stream.synchronize()
        return {name: host[name].view(self.sizes[name], self._maker.dtypes[name]) for name in outputs}

    def run_on_device(self, source: Address, targets: Mapping[str, Address]) -> None:
        """Enqueue a run between device addresses without waiting for it. Outputs not named stay in the slot."""
        own = (name for name in self._maker.outputs if name not in targets)
        addresses = {**targets, **{name: self._memory(DeviceMemory, name).address for name in own}}
        self._execute((source, *(addresses[name] for name in self._maker.outputs)))

    def set_shape(self, shape: Shape) -> None:
        """Prepare the context for an input shape. Raise ProfileError if TensorRT refuses it."""
        if self.shape == shape:
            return
        # A captured graph depends on the state of its context: launching it after a change of shape is undefined.
        self._graph, self._addresses, self._runs, self.shape = None, None, 0, None
        if not self.context.set_input_shape(self._maker.input, shape):
            raise ProfileError(f"TensorRT does not take {shape} under the profile {self.profile}")
        self.sizes = {name: tuple(map(int, self.context.get_tensor_shape(name))) for name in self._maker.outputs}
        wanted = sides_of(shape, images=self.profile.images)
        for name, size in self.sizes.items():
            if (size[0], *size[-2:]) != wanted:  # the buffers would be too small or too large
                raise ArtifactError(f"the engine is not a U²-Net: its output {name!r} is {size} for input {shape}")
        self.sizes[self._maker.input] = self.shape = shape

    def _execute(self, addresses: tuple[Address, ...]) -> None:
        if addresses != self._addresses:
            self._bind(addresses)
        if self._graph is not None:
            self._graph.launch(self.stream)
            return
        if self._use_graph and self._runs and self._capture():
            return
        self._enqueue()
        self._runs += 1
        if self.shape is not None and self.shape not in self._seen:
            self._seen.add(self.shape)
            self._maker.keep_cache()

    def _bind(self, addresses: tuple[Address, ...]) -> None:
        self._graph, self._addresses, self._runs = None, None, 0
        for name, address in zip((self._maker.input, *self._maker.outputs), addresses, strict=True):
            if not self.context.set_tensor_address(name, address):
                raise DeviceError(f"TensorRT does not take the address of {name!r}")
        self._addresses = addresses

    def _capture(self) -> bool:
        """Capture a run as a graph and launch it. Return False if it cannot be captured; nothing ran then."""
        try:
            with self._cuda.capturing:
                self._graph = self._record()
        except DeviceError as error:
            trt_log.warning("no CUDA graph for %s, each run is enqueued instead: %s", self.shape, error)
            self._use_graph = False
            return False
        self._graph.launch(self.stream)
        return True

    def _record(self) -> CudaGraph:
        mode = self._cuda.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.call("cudaStreamBeginCapture", self.stream.handle, mode)
        try:
            self._enqueue()
        except BaseException:
            status, unfinished = self._cuda.api.cudaStreamEndCapture(self.stream.handle)
            if status == self._cuda.api.cudaError_t.cudaSuccess:
                self._cuda.api.cudaGraphDestroy(unfinished)
            raise
        return CudaGraph(self._cuda, self._cuda.call("cudaStreamEndCapture", self.stream.handle))

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(self.stream.handle):
            raise self._maker.failure("the run cannot be enqueued")

    def _memory(self, kind: type[Memory], name: str) -> Memory:
        """Memory for a tensor at the profile's largest batch, height and width."""
        if (kind, name) not in self._buffers:
            largest, current = math.prod(self.profile.shapes()[2]), math.prod(self.shape or ())
            self._buffers[kind, name] = kind(self._cuda, self._byte_count(name) * largest // current)
        memory: Memory = self._buffers[kind, name]
        return memory

    def _byte_count(self, name: str) -> int:
        """Bytes of a tensor at the current shape."""
        return math.prod(self.sizes[name]) * self._maker.dtypes[name].itemsize
