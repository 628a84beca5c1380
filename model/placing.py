"""Devices as torch names them, and full FP32 arithmetic on them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from u2net.runtime.device import Device
from u2net.runtime.errors import DeviceError

_FLAGS = threading.RLock()


def torch_device(device: Device) -> torch.device:
    """Return the device as torch names it. Raise DeviceError if PyTorch finds no such CUDA device."""
    if device.kind == "cuda" and device.index >= torch.cuda.device_count():
        raise DeviceError(f"{device} was asked for, but this PyTorch ({torch.__version__}) sees no such CUDA device")
    return torch.device("cpu") if device.kind == "cpu" else torch.device("cuda", device.index)


@contextmanager
def full_fp32() -> Iterator[None]:
    """Keep CUDA from rounding FP32 products to TF32. The setting is process-wide, so other threads wait."""
    with _FLAGS:
        matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
