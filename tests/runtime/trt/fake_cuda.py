"""A CUDA without a GPU: device memory is host memory, and work in a stream runs when somebody waits for it.

A wait that the code forgets then gives a wrong result, as it may on a GPU. Stands in for ``cuda.bindings.runtime``.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from cuda.bindings import runtime as real

Bytes = npt.NDArray[np.uint8]
Run = Callable[[], object]
errors = real.cudaError_t
NEEDED = 13000
"""CUDA version that a driver must support, as CUDA counts versions."""


class Failure(Exception):
    """A status other than success."""


@dataclass
class Work:
    run: Run
    done: bool = False


@dataclass
class Stream:
    device: int
    queue: deque[Work] = field(default_factory=deque)
    capture: list[Run] | None = None
    thread: int = 0
    invalid: bool = False


@dataclass
class Event:
    device: int
    stream: Stream | None = None
    marker: Work | None = None


@dataclass
class Memory:
    kind: Literal["device", "pinned"]
    content: Bytes


NEED_NO_DRIVER = ("cudaGetDevice", "cudaGetDeviceCount", "cudaDriverGetVersion", "cudaRuntimeGetVersion")


def entry(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Make a method a CUDA function: runs one at a time, counted, fails if a test says so, returns a status."""
    name = function.__name__

    @wraps(function)
    def call(self: "FakeCudaRuntime", *arguments: Any) -> tuple[Any, ...]:
        with self.lock:
            self.calls[name] += 1
            if not self.ready() and name not in NEED_NO_DRIVER:
                self.complain(f"{name} was called without a driver")
            try:
                if name in self.failures:
                    raise Failure(self.failures[name])
                value = function(self, *arguments)
            except Failure as failure:
                return failure.args[0], None
            return (errors.cudaSuccess,) if value is None else (errors.cudaSuccess, value)

    call.is_entry = True  # type: ignore[attr-defined]
    return call


class FakeCudaRuntime:
    """The simulated module. ``complaints`` holds every misuse, even if a finalizer swallowed its exception."""

    def __init__(self, *, devices: int = 1, driver: int = 13000, memory: int = 1 << 30) -> None:
        self.devices, self.driver, self.memory = devices, driver, memory
        self.capability = (8, 6)
        self.allowed: int | None = None
        """Number of allocations of any kind until memory runs out; None for no limit."""
        self.failures: dict[str, Any] = {}
        self.calls: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.live: dict[int, Any] = {}
        """Memory, streams, events and graphs by address or handle."""
        self.default = Stream(0)
        self.lock = threading.RLock()
        self._thread = threading.local()
        self._numbers = itertools.count(1 << 44, 1 << 28)

    def __getattr__(self, name: str) -> Any:
        value = getattr(real, name)  # constants and enums are the real ones
        if not isinstance(value, type | int) and name not in ("cudaGetErrorName", "cudaGetErrorString"):
            raise AttributeError(f"the fake has no {name}")
        return value

    def complain(self, what: str) -> None:
        self.complaints.append(what)
        raise AssertionError(what)

    def ready(self) -> bool:
        return self.driver >= NEEDED

    @property
    def device(self) -> int:
        """Current device of the calling thread."""
        return getattr(self._thread, "device", 0)

    @property
    def capturing(self) -> bool:
        return any(stream.capture is not None for stream in self._streams())

    def leaks(self) -> list[str]:
        return [f"{type(thing).__name__} {address:#x}" for address, thing in self.live.items()]

    def find(self, address: int, size: int) -> Bytes:
        """Return bytes of memory; misuse if not all of them are allocated."""
        for start, memory in self.live.copy().items():
            if isinstance(memory, Memory) and start <= address and address + size <= start + len(memory.content):
                return memory.content[address - start :][:size]
        self.complain(f"{size} bytes at {address:#x} are not allocated, or not any more")
        raise AssertionError

    def floats(self, address: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        return self.find(address, 4 * int(np.prod(shape))).view(np.float32).reshape(shape)

    def enqueue(self, handle: Any, run: Run) -> None:
        """Put work into a stream, or record it if the stream is being captured."""
        with self.lock:
            stream = self._stream(handle)
            if stream.device != self.device:
                self.complain(f"work for a stream of device {stream.device} while {self.device} is the current one")
            if stream.capture is None:
                stream.queue.append(Work(run))
            elif stream.thread != threading.get_ident():
                self.complain("work of another thread in a stream that is being captured")
            else:
                stream.capture.append(run)

    def charge(self, size: int = 0) -> int:
        """Return the address of something new if there is memory for it."""
        used = sum(len(thing.content) for thing in self.live.copy().values() if isinstance(thing, Memory))
        if self.allowed == 0 or used + size > self.memory:
            raise Failure(errors.cudaErrorMemoryAllocation)
        if self.allowed is not None:
            self.allowed -= 1
        return next(self._numbers)

    def _keep(self, thing: Any) -> int:
        number = self.charge()
        self.live[number] = thing
        return number

    def _get(self, kind: type, handle: Any, *, remove: bool = False) -> Any:
        thing = self.live.get(int(handle))
        if not isinstance(thing, kind):
            self.complain(f"{kind.__name__} {int(handle):#x} is not there, or not any more")
        return self.live.pop(int(handle)) if remove else thing

    def _stream(self, handle: Any) -> Stream:
        found: Stream = self.default if int(handle) in (0, 1) else self._get(Stream, handle)
        return found

    def _streams(self) -> list[Stream]:
        return [self.default, *(thing for thing in self.live.copy().values() if isinstance(thing, Stream))]

    def _drain(self, stream: Stream, until: Work | None = None) -> None:
        while stream.queue and not (until and until.done):
            work = stream.queue.popleft()
            work.run()
            work.done = True

    def _refuse_in_capture(self, thread: int | None = None) -> None:
        broken = [
            stream for stream in self._streams() if stream.capture is not None and thread in (None, stream.thread)
        ]
        for stream in broken:
            stream.invalid = True
        if broken:
            raise Failure(errors.cudaErrorStreamCaptureUnsupported)

    def _release(self, address: int, kind: str) -> None:
        self._refuse_in_capture(threading.get_ident())
        for stream in self._streams():  # as the real ones, which wait for the device
            self._drain(stream)
        if self._get(Memory, address, remove=True).kind != kind:
            self.complain(f"{address:#x} is no {kind} memory")

    @entry
    def cudaGetDeviceCount(self) -> int:
        if not self.ready():
            raise Failure(errors.cudaErrorInsufficientDriver)
        if not self.devices:
            raise Failure(errors.cudaErrorNoDevice)
        return self.devices

    @entry
    def cudaDriverGetVersion(self) -> int:
        return self.driver

    @entry
    def cudaRuntimeGetVersion(self) -> int:
        return NEEDED

    @entry
    def cudaGetDeviceProperties(self, _index: int) -> Any:
        major, minor = self.capability
        return SimpleNamespace(name=b"Fake GPU", major=major, minor=minor)

    @entry
    def cudaGetDevice(self) -> int:
        if not self.ready():
            raise Failure(errors.cudaErrorInsufficientDriver)
        return self.device

    @entry
    def cudaSetDevice(self, index: int) -> None:
        if index >= self.devices:
            raise Failure(errors.cudaErrorInvalidDevice)
        self._thread.device = index

    @entry
    def cudaMalloc(self, size: int) -> int:
        self._refuse_in_capture(threading.get_ident())
        address = self.charge(size)
        self.live[address] = Memory("device", np.full(size, 0xFF, np.uint8))  # NaN, until it is written
        return address

    @entry
    def cudaHostAlloc(self, size: int, _flags: int) -> int:
        self._refuse_in_capture(threading.get_ident())
        self.charge(size)
        content = np.full(size, 0xFF, np.uint8)
        self.live[content.ctypes.data] = Memory("pinned", content)
        return int(content.ctypes.data)

    @entry
    def cudaFree(self, address: int) -> None:
        self._release(address, "device")

    @entry
    def cudaFreeHost(self, address: int) -> None:
        self._release(address, "pinned")

    @entry
    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: Any) -> None:
        if kind != real.cudaMemcpyKind.cudaMemcpyDefault:
            self.complain(f"a copy of kind {kind}")
        self.enqueue(stream, lambda: np.copyto(self.find(target, size), self.find(source, size)))

    @entry
    def cudaStreamCreateWithFlags(self, _flags: int) -> Any:
        return real.cudaStream_t(self._keep(Stream(self.device)))

    @entry
    def cudaStreamDestroy(self, stream: Any) -> None:
        self._drain(self._get(Stream, stream, remove=True))

    @entry
    def cudaStreamSynchronize(self, stream: Any) -> None:
        if self._stream(stream).capture is not None:
            self.complain("a stream was waited for while it was being captured")
        self._drain(self._stream(stream))

    @entry
    def cudaDeviceSynchronize(self) -> None:
        self._refuse_in_capture()
        for stream in self._streams():
            self._drain(stream)

    @entry
    def cudaEventCreateWithFlags(self, _flags: int) -> Any:
        return real.cudaEvent_t(self._keep(Event(self.device)))

    @entry
    def cudaEventDestroy(self, event: Any) -> None:
        self._get(Event, event, remove=True)

    @entry
    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        found, marker = self._get(Event, event), Work(lambda: None)
        found.stream, found.marker = self._stream(stream), marker
        found.stream.queue.append(marker)

    @entry
    def cudaStreamWaitEvent(self, stream: Any, event: Any, _flags: int) -> None:
        found = self._get(Event, event)
        source, marker = found.stream, found.marker
        if source is not None:
            self.enqueue(stream, lambda: self._drain(source, marker))

    @entry
    def cudaStreamBeginCapture(self, stream: Any, _mode: Any) -> None:
        found = self._stream(stream)
        if found.capture is not None or found is self.default:
            self.complain("this stream cannot be captured now")
        found.capture, found.thread, found.invalid = [], threading.get_ident(), False

    @entry
    def cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self._stream(stream)
        if found.capture is None or found.thread != threading.get_ident():
            self.complain("no capture of this thread to end")
        recorded, found.capture = found.capture, None
        if found.invalid:
            raise Failure(errors.cudaErrorStreamCaptureInvalidated)
        return real.cudaGraph_t(self._keep(tuple(recorded or ())))

    @entry
    def cudaGraphInstantiate(self, graph: Any, _flags: int) -> Any:
        return real.cudaGraphExec_t(self._keep(list(self._get(tuple, graph))))

    @entry
    def cudaGraphDestroy(self, graph: Any) -> None:
        self._get(tuple, graph, remove=True)

    @entry
    def cudaGraphExecDestroy(self, graph: Any) -> None:
        self._get(list, graph, remove=True)

    @entry
    def cudaGraphLaunch(self, graph: Any, stream: Any) -> None:
        recorded = self._get(list, graph)
        for run in recorded:
            if hasattr(run, "check"):
                run.check()
        self.enqueue(stream, lambda: [run() for run in recorded])
