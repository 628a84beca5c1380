"""Exchange of GPU arrays with other libraries, through the CUDA array interface and DLPack."""

import ctypes
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from u2net.runtime.errors import InputError
from u2net.runtime.trt.cuda import Address, Cuda, DeviceMemory
from u2net.runtime.trt.profiles import Shape

FLOAT32, UINT8 = "<f4", "|u1"
DLPACK_CUDA = 2
"""kDLCUDA in dlpack.h."""
DLPACK_TYPES = {(2, 32, 1): FLOAT32, (1, 8, 1): UINT8}
"""Types of values by code (kDLFloat, kDLUInt), bits and lanes in dlpack.h."""


@dataclass(frozen=True)
class DeviceArray:
    """Values in GPU memory, C-contiguous; ``torch.as_tensor`` and ``cupy.asarray`` take it without a copy."""

    address: Address
    shape: tuple[int, ...]
    device: int
    owner: object
    """Object that keeps the memory alive."""
    ready: bool = False
    """True if later work in our stream already waits for the values, as with DLPack."""
    stream: int | None = None
    """Handle of the stream that produces the values, if the owner names it."""
    writable: bool = True
    kind: str = FLOAT32
    """Type of the values, as in the CUDA array interface."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.kind, "data": (self.address, False), "strides": None, "version": 3}


def new_device_array(cuda: Cuda, shape: Shape, device: int, dtype: npt.DTypeLike = np.float32) -> DeviceArray:
    """Allocate an array on the current device."""
    memory = DeviceMemory(cuda, math.prod(shape) * np.dtype(dtype).itemsize)
    return DeviceArray(memory.address, shape, device, memory, ready=True, kind=np.dtype(dtype).str)


def as_device_array(value: object, device: int, stream: int | None) -> DeviceArray:
    """View another library's array.

    Raise InputError if it is not on that device, neither float32 nor uint8, or not C-contiguous.

    ``stream`` is the handle of the stream that will use the array; DLPack makes it wait for the producer. With None
    nothing waits, which is enough to read address and shape.
    """
    if isinstance(value, DeviceArray):
        if value.device != device:
            raise InputError(f"the network is on cuda:{device}, the array on cuda:{value.device}; move it")
        return replace(value, ready=False)  # its receiver may have used it since
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        return _from_dlpack(value, device, stream)
    return _from_interface(value, device)


def as_target(name: str, value: object, device: int, stream: int | None) -> DeviceArray:
    """View the array for an output. Raise InputError as :func:`as_device_array` does, or if it is read-only."""
    array = as_device_array(value, device, stream)
    if not array.writable:
        raise InputError(f"the array for output {name!r} is read-only")
    return array


def _from_interface(value: object, device: int) -> DeviceArray:
    facts: dict[str, Any] | None = getattr(value, "__cuda_array_interface__", None)
    if facts is None:
        raise InputError(f"infer takes a NumPy array or an array in GPU memory; got {type(value).__name__}")
    shape = tuple(int(side) for side in facts["shape"])
    if (kind := facts["typestr"]) not in (FLOAT32, UINT8):
        raise InputError(f"infer takes float32 (<f4) or uint8 (|u1); got {kind} {shape}")
    if facts.get("mask") is not None:
        raise InputError("infer does not take an array with a mask")
    strides = facts.get("strides")
    _require_contiguous(shape, None if strides is None else tuple(strides), step=np.dtype(kind).itemsize)
    address, read_only = facts["data"]
    stream = facts.get("stream")
    return DeviceArray(int(address), shape, device, value, stream=stream, writable=not read_only, kind=kind)


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _from_dlpack(value: Any, device: int, stream: int | None) -> DeviceArray:
    kind, index = value.__dlpack_device__()
    if int(kind) != DLPACK_CUDA or int(index) != device:
        where = f"cuda:{index}" if int(kind) == DLPACK_CUDA else f"other memory (DLPack device {int(kind)})"
        raise InputError(f"the network is on cuda:{device}, the array on {where}; move it, or give a NumPy array")
    # -1 asks for no synchronization.
    try:
        capsule = value.__dlpack__(stream=-1 if stream is None else stream)
    except BufferError as error:
        raise InputError(f"the array cannot be shared: {error}") from error
    tensor = ctypes.cast(_capsule_pointer(capsule), ctypes.POINTER(_Tensor)).contents
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    kind = DLPACK_TYPES.get((tensor.code, tensor.bits, tensor.lanes))
    if kind is None:
        found = f"DLPack type {tensor.code} of {tensor.bits} bits, shape {shape}"
        raise InputError(f"infer takes float32 or uint8; got {found}")
    _require_contiguous(shape, tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else None)
    address, ready = int(tensor.data or 0) + int(tensor.byte_offset), stream is not None
    return DeviceArray(address, shape, device, (value, capsule), ready=ready, kind=kind)


def _capsule_pointer(capsule: object) -> int:
    """Address in a capsule. The capsule is not renamed, so it still frees its content when it is deleted."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get(capsule, b"dltensor"))


def _require_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None, step: int = 1) -> None:
    """Check strides in values, or in bytes with ``step`` bytes a value; those of axes of length 1 do not matter."""
    if strides is None:
        return
    expected = step
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side != 1 and stride != expected:
            raise InputError(f"infer takes a C-contiguous array; got shape {shape}, strides {strides}")
        expected *= side
