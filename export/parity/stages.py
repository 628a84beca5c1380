"""One face for every stage that the gate compares: checkpoint, FP32 graph, FP16 graph."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from u2net.export.execution import GraphRunner
from u2net.export.graph import read_graph
from u2net.export.rounding import round_like_fp16
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.model.placing import full_fp32, place_network
from u2net.runtime.artifact import METADATA_KEY, InputShape
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.loading import ENGINE_SUFFIXES, load
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session
from u2net.runtime.trt.record import read_record


class Stage(Protocol):
    """Something that maps a tensor to the network's outputs."""

    @property
    def label(self) -> str:
        """The file it came from."""

    @property
    def precision(self) -> str:
        """``fp32`` or ``fp16``: which tolerances hold."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs it gives."""

    @property
    def shape(self) -> InputShape:
        """Sizes it takes."""

    @property
    def preset(self) -> Preset | None:
        """Its own preprocessing contract; None for a checkpoint, which does not say."""

    def infer(self, tensor: FloatArray) -> dict[str, FloatArray]:
        """Float32 1×3×H×W to each output by name, float32 1×C×H×W."""


class EagerStage:
    """A checkpoint in eager PyTorch, FP32, TF32 off."""

    precision = "fp32"
    outputs = OUTPUT_NAMES
    shape = InputShape(None, None, None)
    preset = None

    def __init__(self, checkpoint: Checkpoint, device: Device) -> None:
        self.label = str(checkpoint.path)
        self._network = checkpoint.network
        self._device = place_network(checkpoint.network, device)

    def infer(self, tensor: FloatArray) -> dict[str, FloatArray]:
        """Run the network; see :class:`Stage`."""
        with torch.inference_mode(), full_fp32():
            outputs = self._network(torch.from_numpy(tensor).to(self._device))
        return {name: value.cpu().numpy() for name, value in zip(OUTPUT_NAMES, outputs, strict=True)}


class SessionStage:
    """A model file as the runtime runs it; TF32 off."""

    def __init__(self, session: Session, outputs: tuple[str, ...]) -> None:
        self.label = str(session.info.path)
        self.precision = session.info.precision or "fp32"
        self.outputs = outputs
        self.shape = session.info.shape
        self.preset: Preset | None = session.info.preset
        self._session = session

    def infer(self, tensor: FloatArray) -> dict[str, FloatArray]:
        """Run the network; see :class:`Stage`."""
        return self._session.infer(tensor)


class RoundedStage(SessionStage):
    """An FP16 graph on a processor that computes in FP32, rounded to FP16 after each node."""

    def __init__(self, session: Session, outputs: tuple[str, ...]) -> None:
        super().__init__(session, outputs)
        self._runner = GraphRunner(round_like_fp16(read_graph(session.info.path)), optimize=False)

    def infer(self, tensor: FloatArray) -> dict[str, FloatArray]:
        """Run the rounded copy; see :class:`Stage`."""
        batch = self.shape.batch or 1
        values = self._runner(np.repeat(tensor, batch, axis=0))
        return {name: value[:1] for name, value in values.items()}


def open_stage(path: Path, device: Device, preset: str | None = None) -> Stage:
    """Open a checkpoint or a model file.

    Args:
        preset: for a model file without metadata, the contract it was made for.

    Raises:
        CheckpointError, ArtifactError, DeviceError, DependencyError: the file cannot be opened or run.
    """
    if path.suffix.lower() in ENGINE_SUFFIXES:
        return _open_engine(path, device, preset)
    if path.suffix.lower() != ".onnx":
        return EagerStage(load_checkpoint(path), device)
    graph = read_graph(path)
    known = METADATA_KEY in graph.metadata_props
    session = load(path, str(device), preset=None if known else preset, tf32=False)
    names = tuple(str(value.name) for value in graph.graph.outputs)
    rounded = session.info.precision == "fp16" and device.kind == "cpu"
    return (RoundedStage if rounded else SessionStage)(session, names)


def _open_engine(path: Path, device: Device, preset: str | None) -> Stage:
    record = read_record(path)
    known = record is not None and record.artifact is not None
    session = load(path, str(device), preset=None if known else preset)
    return SessionStage(session, session.info.outputs)


def claimed_preset(candidate: Stage, wanted: Preset | None) -> Preset:
    """The contract that the reference is fed by: the one asked for, else the published one of the candidate's name.

    The candidate's own numbers are not taken over, so that a wrong one shows.
    """
    own = candidate.preset
    chosen = wanted or (PRESETS.get(own.name, own) if own else PRESETS["reference"])
    if own is None:
        return chosen
    return chosen.with_size(own.height, own.width)


def common_outputs(reference: Stage, candidate: Stage) -> tuple[str, ...]:
    """Names that the candidate gives, all of which the reference must give too.

    Raises:
        InputError: it does not.
    """
    unknown = [name for name in candidate.outputs if name not in reference.outputs]
    if unknown:
        raise InputError(
            f"{candidate.label} gives {', '.join(unknown)}, {reference.label} only {', '.join(reference.outputs)}"
        )
    return candidate.outputs
