"""The devices and processes of a training."""

import logging
import os

import torch
from lightning_fabric import Fabric

from u2net.model.training.options import TrainOptions
from u2net.runtime.device import Device
from u2net.runtime.errors import DeviceError, InputError


def launch_fabric(options: TrainOptions) -> Fabric:
    """The devices of a training: those asked for, or this process's of those that ``torchrun`` started.

    Raises:
        DeviceError: there are fewer.
        InputError: the batch cannot be shared out so that each process has two pictures.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    device = Device.parse(options.device)
    started = "TORCHELASTIC_RUN_ID" in os.environ
    count = int(os.environ["LOCAL_WORLD_SIZE"]) if started else options.devices
    nodes = int(os.environ["WORLD_SIZE"]) // count if started else 1
    if device.kind == "cuda" and device.index + count > torch.cuda.device_count():
        raise DeviceError(
            f"{count} from {device} on were asked for, but this PyTorch sees {torch.cuda.device_count()} CUDA devices"
        )
    world, batch = count * nodes, options.recipe.batch
    if batch % world or batch // world < 2:
        raise InputError(f"a batch of {batch} cannot be shared by {world} devices with two pictures or more for each")
    fabric = Fabric(
        accelerator=device.kind,
        devices=list(range(device.index, device.index + count)) if device.kind == "cuda" else count,
        num_nodes=nodes,
        strategy="ddp" if world > 1 else "auto",
        precision=options.recipe.precision,
    )
    fabric.launch()
    return fabric
