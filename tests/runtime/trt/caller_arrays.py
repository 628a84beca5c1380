"""Arrays of other libraries in the fake GPU's memory: with the CUDA array interface, or with DLPack."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.runtime.trt.fake_cuda import FakeCudaRuntime

Tensor = npt.NDArray[np.float32]
CUDA, CPU = 2, 1
DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class CallerArray:
    """Memory with values in it; if the caller's stream is given, pending work in that stream writes the values."""

    def __init__(self, cuda: FakeCudaRuntime, values: Tensor, *, stream: int | None = None, offset: int = 0) -> None:
        self.cuda, self.shape, self.offset = cuda, values.shape, offset
        self.start = cuda.cudaMalloc(values.nbytes + offset)[1]
        self.address = self.start + offset
        self.stream = stream
        if stream is None:
            self.values()[:] = values
        else:
            cuda.enqueue(stream, lambda: np.copyto(self.values(), values))

    def values(self) -> Tensor:
        return self.cuda.floats(self.address, self.shape)

    def __del__(self) -> None:
        self.cuda.live.pop(self.start, None)  # without waiting for the device, like a library with a pool


class WithInterface(CallerArray):
    """An array with the CUDA array interface, of which ``changes`` replaces entries."""

    changes: dict[str, Any] = {}  # noqa: RUF012

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        facts = {"shape": self.shape, "typestr": "<f4", "data": (self.address, False), "version": 3}
        return {**facts, **self.changes}


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class WithDlpack(CallerArray):
    """An array with DLPack; as the specification says, it makes the consumer's stream wait for its own."""

    device = (CUDA, 0)
    kind = (2, 32, 1)
    strides: tuple[int, ...] | None = None
    refuses: str | None = None
    on_release: Callable[[int], None] | None = None
    """Called for each capsule that is released."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int | None = None) -> object:
        if self.refuses is not None:
            raise BufferError(self.refuses)
        if stream not in (None, -1) and self.stream is not None:
            event = self.cuda.cudaEventCreateWithFlags(2)[1]
            self.cuda.cudaEventRecord(event, self.stream)
            self.cuda.cudaStreamWaitEvent(stream, event, 0)
            self.cuda.cudaEventDestroy(event)
        sides = (ctypes.c_int64 * len(self.shape))(*self.shape)
        strides = None if self.strides is None else (ctypes.c_int64 * len(self.shape))(*self.strides)
        tensor = DLTensor(
            self.start or None,
            *self.device,
            len(self.shape),
            *self.kind,
            ctypes.addressof(sides),
            None if strides is None else ctypes.addressof(strides),
            self.offset,
        )
        self.held = (*getattr(self, "held", ()), sides, strides, tensor)
        release = DESTRUCTOR() if self.on_release is None else DESTRUCTOR(self.on_release)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, DESTRUCTOR]
        capsule: object = new(ctypes.addressof(tensor), b"dltensor", release)
        self.held += (release,)
        return capsule
