"""Starts a training: checks options, data and output, then builds the parts and runs the loop."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch
from lightning_fabric import Fabric

from u2net.model.checkpoint import load_checkpoint
from u2net.model.dataset import WHITE, check_levels, find_pairs, hold_out
from u2net.model.network import VARIANTS, U2Net
from u2net.model.training.decoded_pairs import decode_pairs
from u2net.model.training.learner import Learner
from u2net.model.training.loop import TrainingRun, TrainResult
from u2net.model.training.state import LAST, fingerprint, read_state, restore_state
from u2net.model.training.step_log import LOG, StatusCallback, TrainStatus
from u2net.model.training.train_options import TrainOptions
from u2net.runtime.errors import DeviceError, InputError
from u2net.runtime.files import locked_folder, make_folder

_logger = logging.getLogger("u2net.training")

FAINT_MASKS = "%d of %d masks have no value above %d, but a mask is 255 where the object is; the first is %s"


def train_network(
    folder: str | Path, output: str | Path, options: TrainOptions, report: StatusCallback = lambda _status: None
) -> TrainResult:
    """Train on ``folder/images`` and ``folder/masks``; write weights, a checkpoint and a log into ``output``.

    Ctrl-C or SIGTERM pauses the training after the present step.

    Raises:
        DatasetError: the folder or a picture in it cannot be used.
        CheckpointError: ``init`` or the checkpoint to resume cannot be loaded.
        DeviceError: the devices are missing.
        InputError: an option is out of range, the pictures do not fit into memory, there is nothing to resume, or
            ``output`` cannot be written or holds another training.
        TrainingError: the loss or the network's maps became NaN or Inf, the memory is too small for two pictures, or
            the disk is full.
    """
    called, output = time.monotonic(), Path(output)
    options.check()
    pairs = find_pairs(folder)
    data = fingerprint(pairs)
    state = read_state(output / LAST, options, data) if options.resume else None
    if state is not None and options.epochs is None and options.minutes is None:
        options = replace(options, **state["budget"])
    training, held_out = hold_out(pairs, options.val_fraction)
    if len(training) < options.recipe.batch:
        raise InputError(
            f"{len(pairs)} pairs less {len(held_out)} held out for validation do not fill one batch of "
            f"{options.recipe.batch}; add pictures or lower the batch"
        )
    network = _start_network(options)
    fabric = launch_fabric(options)
    # Only the first process of a training writes, and no other training may write there.
    with locked_folder(output) if fabric.is_global_zero else nullcontext():
        _check_output(output, options)
        tell = report if fabric.is_global_zero else lambda _status: None
        learner = Learner(fabric, network, options.recipe)
        step, seconds = (0, 0.0) if state is None else restore_state(state, learner)
        size = options.recipe.size
        decoded = decode_pairs(training, size, lambda share: tell(TrainStatus("reading", share))).near(fabric.device)
        brightest = decoded.masks.flatten(1).amax(1).tolist()
        check_levels(int(decoded.masks.min()), max(brightest))
        # No error as for a single mask of an evaluation, because shrinking may have faded a small object.
        faint = [pair.mask for pair, level in zip(training, brightest, strict=True) if 0 < level < WHITE]
        if faint and fabric.is_global_zero:
            _logger.warning(FAINT_MASKS, len(faint), len(training), WHITE - 1, faint[0])
        with stop_on_signals() as signals:
            run = TrainingRun(
                learner,
                options,
                output=output,
                report=tell,
                training=decoded,
                held_out=decode_pairs(held_out if fabric.is_global_zero else [], size),
                data=data,
                called=called,
                signals=signals,
                step=step,
                seconds=seconds,
            )
            return run.go()


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Yield a list for the first Ctrl-C or SIGTERM; a second one acts as usual. Only the main thread gets signals."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def launch_fabric(options: TrainOptions) -> Fabric:
    """Start Fabric on the devices of the options, or as one of the processes that ``torchrun`` started."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    device = options.device
    started = "TORCHELASTIC_RUN_ID" in os.environ
    count = int(os.environ["LOCAL_WORLD_SIZE"]) if started else options.devices
    nodes = int(os.environ["WORLD_SIZE"]) // count if started else 1
    if device.kind == "cuda" and device.index + count > torch.cuda.device_count():
        raise DeviceError(
            f"the training needs {device}{f' and the {count - 1} after it' if count > 1 else ''}, but this PyTorch "
            f"({torch.__version__}) sees {torch.cuda.device_count()} CUDA devices"
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


def _check_output(output: Path, options: TrainOptions) -> None:
    make_folder(output)
    for path in (output / LAST, output / options.weights_name):
        if path.is_dir():
            raise InputError(f"{path} is a folder; the training writes a file of that name")
        if path.exists() and not options.resume:
            raise InputError(
                f"{path} exists from an earlier training; continue it with --resume, or name another folder"
            )
    if (output / LOG).exists() and not (output / LOG).is_dir():
        raise InputError(f"{output / LOG} is not a folder; the training writes its log there")


def _start_network(options: TrainOptions) -> U2Net:
    torch.manual_seed(options.seed)
    if options.init is None:
        return VARIANTS[options.variant]()
    network = load_checkpoint(options.init).network
    if network.variant != options.variant or network.out_channels != 1:
        raise InputError(
            f"{options.init} holds {network.variant} with {network.out_channels} output channels, but training is for "
            f"one, and for {options.variant}; --variant chooses"
        )
    return network
