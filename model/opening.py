"""Opens a checkpoint or a model file as a session."""

from dataclasses import replace
from pathlib import Path

from u2net.model.checkpoint import Checkpoint, take_checkpoint
from u2net.model.eager_backend import EagerBackend
from u2net.model.network import OUTPUT_NAMES
from u2net.runtime.device import Device
from u2net.runtime.loading import MODEL_SUFFIXES, BackendName, new_session, open_backend
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session


def open_session(
    source: Checkpoint | str | Path,
    device: Device,
    *,
    backend: BackendName | None = None,
    preset: Preset | None = None,
    assumed: Preset | None = None,
    size: tuple[int, int] | None = None,
    outputs: tuple[str, ...] = OUTPUT_NAMES,
    threads: int | None = None,
    tf32: bool = True,
) -> Session:
    """Open a checkpoint in eager PyTorch, or a model file as :func:`u2net.runtime.load` does, which has more options.

    Args:
        backend: for an ONNX file only.
        assumed: preset of a checkpoint, or of a file that states none; None means ``reference`` for a checkpoint.
        outputs: outputs of a checkpoint's session; a file has its own.
        threads: for a file only; PyTorch has one setting for the whole process.

    Raises:
        CheckpointError, ArtifactError, DeviceError, DependencyError: the source cannot be opened or run.
    """
    if not isinstance(source, Checkpoint) and (path := Path(source)).suffix.lower() in MODEL_SUFFIXES:
        opened, _ = open_backend(path, device, backend, threads=threads, tf32=tf32)
        return new_session(opened, path, device, preset=preset, assumed=assumed, size=size)
    checkpoint = take_checkpoint(source)
    eager = EagerBackend(checkpoint.network, device, outputs=outputs, tf32=tf32)
    session = new_session(eager, checkpoint.path, device, preset=preset or assumed or PRESETS["reference"], size=size)
    session.info = replace(session.info, variant=checkpoint.variant, checkpoint_sha256=checkpoint.sha256)
    return session
