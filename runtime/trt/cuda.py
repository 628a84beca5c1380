"""CUDA through cuda-bindings alone: devices, memory, streams and graphs. Each is freed with its Python object."""

import ctypes
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from u2net.runtime.errors import DependencyError, DeviceError, DriverMissingError, DriverTooOldError, OutOfMemoryError

Address = int
"""Address in device memory or pinned host memory."""


@dataclass(frozen=True)
class Gpu:
    index: int
    name: str
    compute_capability: str
    """Major and minor number, such as ``8.6``."""


class Cuda:
    """CUDA's runtime API, with errors instead of status codes."""

    def __init__(self, api: Any) -> None:
        """Wrap ``cuda.bindings.runtime`` or a stand-in for it."""
        self.api = api
        self.capturing = threading.Lock()
        """Held while a stream is captured, because no thread may then wait for the device."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function by name; return its values without the status, or raise DeviceError or OutOfMemoryError."""
        status, *values = getattr(self.api, name)(*arguments)
        errors = self.api.cudaError_t
        if status == errors.cudaErrorMemoryAllocation:
            raise OutOfMemoryError(
                f"{name} ran out of GPU memory; load with fewer contexts, build the engine for a smaller batch, or "
                "stop other programs that use the GPU (nvidia-smi lists them)"
            )
        if status != errors.cudaSuccess:
            raise DeviceError(f"{name} failed: {self.describe_status(status)}")
        return values[0] if len(values) == 1 else tuple(values)

    def describe_status(self, status: Any) -> str:
        name, meaning = self.api.cudaGetErrorName(status)[1], self.api.cudaGetErrorString(status)[1]
        return f"{name.decode()} ({meaning.decode()})"

    def require_driver(self) -> int:
        """Number of devices, at least one. Unlike most of CUDA and TensorRT, this is safe without a driver.

        Raise DriverMissingError, DriverTooOldError, or DeviceError if the driver sees no device or does not start.
        """
        errors = self.api.cudaError_t
        status, count = self.api.cudaGetDeviceCount()
        if status == errors.cudaErrorInsufficientDriver:
            driver, needed = self.api.cudaDriverGetVersion()[1], self.api.cudaRuntimeGetVersion()[1]
            if not driver:
                raise DriverMissingError(
                    "there is no NVIDIA driver; install one, and in a container start it with --gpus all"
                )
            raise DriverTooOldError(
                f"the NVIDIA driver is for CUDA {_version(driver)}, cuda-bindings needs {_version(needed)}; "
                f"update the driver, or `pip install 'cuda-bindings<{driver // 1000 + 1}'`"
            )
        if status == errors.cudaErrorNoDevice or (status == errors.cudaSuccess and not count):
            raise DeviceError("the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES or the container may hide it")
        if status != errors.cudaSuccess:
            raise DeviceError(f"the NVIDIA driver does not start: {self.describe_status(status)}")
        return int(count)

    def find_gpu(self, index: int) -> Gpu:
        """Describe a device. Raise DeviceError if it is not there; see also :meth:`require_driver`."""
        count = self.require_driver()
        if index >= count:
            raise DeviceError(f"cuda:{index} is not there; the driver sees {count}: cuda:0 to cuda:{count - 1}")
        properties = self.call("cudaGetDeviceProperties", index)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        return Gpu(index, name, f"{properties.major}.{properties.minor}")

    def use(self, index: int) -> None:
        """Make a device current in the calling thread."""
        self.call("cudaSetDevice", index)

    @contextmanager
    def using(self, index: int) -> Iterator[None]:
        """Make a device current in the calling thread, and restore the previous one afterwards."""
        before = self.api.cudaGetDevice()
        try:
            self.use(index)
            yield
        finally:
            if self.api.cudaGetDevice() != before:
                self.use(before[1])

    def synchronize(self) -> None:
        """Wait for all work on the current device."""
        with self.capturing:
            self.call("cudaDeviceSynchronize")

    def copy(self, target: Address, source: Address, size: int, stream: "Stream") -> None:
        """Copy bytes in stream order. CUDA infers the direction from the addresses."""
        self.call("cudaMemcpyAsync", target, source, size, self.api.cudaMemcpyKind.cudaMemcpyDefault, stream.handle)


class Stream:
    """A new stream that does not wait for the default stream."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = int(cuda.call("cudaStreamCreateWithFlags", cuda.api.cudaStreamNonBlocking))
        weakref.finalize(self, cuda.api.cudaStreamDestroy, self.handle)
        self._event = cuda.call("cudaEventCreateWithFlags", cuda.api.cudaEventDisableTiming)
        weakref.finalize(self, cuda.api.cudaEventDestroy, self._event)

    def synchronize(self) -> None:
        self._cuda.call("cudaStreamSynchronize", self.handle)

    def order(self, *, before: int, after: int) -> None:
        """Make later work in one stream wait for the work now in another; one of the two must be this stream."""
        self._cuda.call("cudaEventRecord", self._event, before)
        self._cuda.call("cudaStreamWaitEvent", after, self._event, 0)


class DeviceMemory:
    """Memory on the current device."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.address: Address = int(cuda.call("cudaMalloc", size))
        weakref.finalize(self, cuda.api.cudaFree, self.address)


class PinnedMemory:
    """Page-locked host memory, which the device copies from and to directly."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self.address: Address = int(cuda.call("cudaHostAlloc", size, cuda.api.cudaHostAllocDefault))
        weakref.finalize(self, cuda.api.cudaFreeHost, self.address)

    def view(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """View the first bytes as an array; valid while this object lives."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        content = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.address))
        return content.view(dtype).reshape(shape)


class CudaGraph:
    def __init__(self, cuda: Cuda, recorded: Any) -> None:
        self._cuda = cuda
        try:
            self._executable = cuda.call("cudaGraphInstantiate", recorded, 0)
        finally:
            cuda.api.cudaGraphDestroy(recorded)
        weakref.finalize(self, cuda.api.cudaGraphExecDestroy, self._executable)

    def launch(self, stream: Stream) -> None:
        self._cuda.call("cudaGraphLaunch", self._executable, stream.handle)


@cache
def open_cuda() -> Cuda:
    """Import cuda-bindings, which needs no driver. Raise DependencyError if it is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise DependencyError("cuda-bindings", "gpu", "rtx") from None
    return Cuda(runtime)


def _version(number: int) -> str:
    """CUDA counts versions as 1000 × major + 10 × minor."""
    return f"{number // 1000}.{number % 1000 // 10}"
