"""A network on the device that was asked for."""

import torch

from u2net.model.network import U2Net
from u2net.runtime.device import Device
from u2net.runtime.errors import DeviceError


def place_network(network: U2Net, device: Device) -> torch.device:
    """Move a network; gives the device as torch names it.

    Raises:
        DeviceError: torch finds no such CUDA device.
    """
    place = torch_device(device)
    network.to(place)
    return place


def torch_device(device: Device) -> torch.device:
    """The device as torch names it.

    Raises:
        DeviceError: torch finds no such CUDA device.
    """
    if device.kind == "cuda" and device.index >= torch.cuda.device_count():
        raise DeviceError(f"{device} was asked for, but this PyTorch ({torch.__version__}) sees no such CUDA device")
    return torch.device(str(device))
