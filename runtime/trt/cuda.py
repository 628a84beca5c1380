"""CUDA through cuda-bindings alone: devices, memory, streams and graphs, each freed with the object that holds it."""

import ctypes
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from u2net.runtime.errors import (
    DependencyError,
    DeviceError,
    DriverMissingError,
    DriverTooOldError,
    OutOfMemoryError,
)

Address = int
"""Of device or pinned host memory."""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device."""

    index: int
    name: str
    compute_capability: str
    """Major and minor number, ``8.6``."""
    memory: int
    """Bytes in all."""


class Cuda:
    """CUDA's runtime API with its status codes turned into errors."""

    def __init__(self, api: Any) -> None:
        """Take ``cuda.bindings.runtime``, or what behaves like it."""
        self.api = api
        self.capturing = threading.Lock()
        """Held while a stream is captured: CUDA then forbids to wait for the device, in any thread."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function by name; give what it returns beside its status.

        Raises:
            OutOfMemoryError: device or pinned memory ran out.
            DeviceError: any other status but success.
        """
        status, *values = getattr(self.api, name)(*arguments)
        errors = self.api.cudaError_t
        if status == errors.cudaErrorMemoryAllocation:
            raise OutOfMemoryError(
                f"{name} ran out of GPU memory; load with fewer contexts, build the engine for a smaller batch, or end "
                "what else uses the GPU (nvidia-smi lists it)"
            )
        if status != errors.cudaSuccess:
            raise DeviceError(f"{name} failed: {self.explain(status)}")
        return values[0] if len(values) == 1 else tuple(values)

    def explain(self, status: Any) -> str:
        """A status by name and meaning."""
        name, meaning = (self.api.cudaGetErrorName(status)[1], self.api.cudaGetErrorString(status)[1])
        return f"{name.decode()} ({meaning.decode()})"

    def require_driver(self) -> int:
        """Number of devices, at least one. Safe to call where there is no driver, unlike most of CUDA and TensorRT.

        Raises:
            DriverMissingError: there is no driver.
            DriverTooOldError: it is older than this cuda-bindings needs.
            DeviceError: it sees no device, or does not start.
        """
        errors = self.api.cudaError_t
        status, count = self.api.cudaGetDeviceCount()
        if status == errors.cudaErrorInsufficientDriver:
            found, needed = (
                _version(self.api.cudaDriverGetVersion()[1]),
                _version(self.api.cudaRuntimeGetVersion()[1]),
            )
            if found == (0, 0):
                raise DriverMissingError(
                    "there is no NVIDIA driver; install one, and in a container start it with --gpus all"
                )
            raise DriverTooOldError(
                f"the NVIDIA driver is for CUDA {found[0]}.{found[1]}, cuda-bindings needs {needed[0]}.{needed[1]}; "
                f"update the driver, or `pip install 'cuda-bindings<{found[0] + 1}'`"
            )
        if status == errors.cudaErrorNoDevice or (status == errors.cudaSuccess and not count):
            raise DeviceError("the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES or the container may hide it")
        if status != errors.cudaSuccess:
            raise DeviceError(f"the NVIDIA driver does not start: {self.explain(status)}")
        return int(count)

    def find_gpu(self, index: int) -> Gpu:
        """The device of this number.

        Raises:
            DeviceError: it is not there, or see :meth:`require_driver`.
        """
        count = self.require_driver()
        if index >= count:
            raise DeviceError(f"cuda:{index} is not there; the driver sees {count}: cuda:0 to cuda:{count - 1}")
        properties = self.call("cudaGetDeviceProperties", index)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        return Gpu(index, name, f"{properties.major}.{properties.minor}", int(properties.totalGlobalMem))

    def use(self, index: int) -> None:
        """Make a device the calling thread's current one."""
        self.call("cudaSetDevice", index)

    @contextmanager
    def using(self, index: int) -> Iterator[None]:
        """Make a device the calling thread's current one, and the one before it again afterwards."""
        with self.restoring():
            self.use(index)
            yield

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Leave the calling thread's current device as it is now, whatever is done meanwhile; needs no driver."""
        before = self.api.cudaGetDevice()
        try:
            yield
        finally:
            if self.api.cudaGetDevice() != before:
                self.use(before[1])

    def synchronize(self) -> None:
        """Block the calling thread until everything on the current device is done."""
        with self.capturing:
            self.call("cudaDeviceSynchronize")

    def copy(self, target: Address, source: Address, size: int, stream: "Stream") -> None:
        """Copy bytes in stream order; the addresses say which way."""
        self.call("cudaMemcpyAsync", target, source, size, self.api.cudaMemcpyKind.cudaMemcpyDefault, stream.handle)


class Stream:
    """A stream of its own, which does not wait for the default one."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = int(cuda.call("cudaStreamCreateWithFlags", cuda.api.cudaStreamNonBlocking))
        weakref.finalize(self, cuda.api.cudaStreamDestroy, self.handle)
        self._event = cuda.call("cudaEventCreateWithFlags", cuda.api.cudaEventDisableTiming)
        weakref.finalize(self, cuda.api.cudaEventDestroy, self._event)

    def synchronize(self) -> None:
        """Block the calling thread until everything in the stream is done."""
        self._cuda.call("cudaStreamSynchronize", self.handle)

    def wait_for(self, other: int) -> None:
        """Let what comes next here wait for what is now in the stream of that handle."""
        self._order(before=other, after=self.handle)

    def let_wait(self, other: int) -> None:
        """Let what comes next in the stream of that handle wait for what is now here."""
        self._order(before=self.handle, after=other)

    def _order(self, *, before: int, after: int) -> None:
        self._cuda.call("cudaEventRecord", self._event, before)
        self._cuda.call("cudaStreamWaitEvent", after, self._event, 0)


class DeviceMemory:
    """Bytes on the current device."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.address: Address = int(cuda.call("cudaMalloc", size))
        self.size = size
        weakref.finalize(self, cuda.api.cudaFree, self.address)


class PinnedMemory:
    """Host bytes that the device can copy from and to without a detour."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.address: Address = int(cuda.call("cudaHostAlloc", size, cuda.api.cudaHostAllocDefault))
        self.size = size
        weakref.finalize(self, cuda.api.cudaFreeHost, self.address)

    def view(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The first bytes as float32; valid as long as this object lives."""
        count = int(np.prod(shape))
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(self.address)).reshape(shape)


class Graph:
    """Work recorded from a stream, to be launched as one."""

    def __init__(self, cuda: Cuda, recorded: Any) -> None:
        self._cuda = cuda
        try:
            self._executable = cuda.call("cudaGraphInstantiate", recorded, 0)
        finally:
            cuda.api.cudaGraphDestroy(recorded)
        weakref.finalize(self, cuda.api.cudaGraphExecDestroy, self._executable)

    def launch(self, stream: Stream) -> None:
        """Enqueue the recorded work."""
        self._cuda.call("cudaGraphLaunch", self._executable, stream.handle)


@cache
def open_cuda() -> Cuda:
    """CUDA as cuda-bindings gives it; needs no driver yet.

    Raises:
        DependencyError: cuda-bindings is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise DependencyError("cuda-bindings", "gpu") from None
    return Cuda(runtime)


def _version(number: int) -> tuple[int, int]:
    """CUDA's version number, 1000 × major + 10 × minor, taken apart."""
    return number // 1000, number % 1000 // 10
