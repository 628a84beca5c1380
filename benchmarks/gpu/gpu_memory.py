"""How much GPU memory is free."""

import importlib
import sys
from typing import Any

from u2net.runtime.device import Device
from u2net.runtime.errors import DependencyError
from u2net.runtime.trt.cuda import open_cuda


def free_bytes(device: Device, *, tidy: bool = False) -> int | None:
    """Free memory of a GPU in bytes, what other processes hold counted as taken.

    None for a processor, and where neither torch has been imported nor cuda-bindings are installed.

    Args:
        tidy: let torch give back first what it keeps for later. Without it, what torch once needed counts as taken,
            so that the reading tells the peak.

    Raises:
        DeviceError: the GPU cannot be used; so says torch with an error of its own.
    """
    if device.kind == "cpu":
        return None
    if "torch" in sys.modules:
        torch: Any = importlib.import_module("torch")
        if torch.cuda.is_available():
            torch.cuda.synchronize(device.index)
            if tidy:
                torch.cuda.empty_cache()
            return int(torch.cuda.mem_get_info(device.index)[0])
    try:
        cuda = open_cuda()
    except DependencyError:
        return None
    cuda.require_driver()
    cuda.use(device.index)
    free, _total = cuda.call("cudaMemGetInfo")
    return int(free)
