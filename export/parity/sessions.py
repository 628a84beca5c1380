"""The sessions that the gate compares, and how their presets and outputs correspond."""

from dataclasses import replace
from pathlib import Path

from u2net.export.graph import find_precision, open_graph, read_graph
from u2net.export.rounding import round_like_fp16
from u2net.model.checkpoint import Checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.model.opening import open_session
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.loading import BackendName, find_fastest
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session, SessionInfo


def open_for_parity(
    source: Checkpoint | Path,
    device: Device,
    *,
    backend: BackendName | None = None,
    preset: Preset | None = None,
    assumed: Preset | None = None,
) -> Session:
    """Open a checkpoint or a model file for the gate, with TF32 off.

    ONNX Runtime computes an FP16 graph in FP32 on a processor, so there it runs a copy that really rounds.
    The precision of a graph is read from its nodes: a tool that quantizes a file may leave its metadata as they are.

    For ``preset``, ``assumed`` and errors see :func:`open_session`; an ONNX file that cannot be read is an ExportError.
    """
    if isinstance(source, Checkpoint) or source.suffix.lower() != ".onnx":
        return open_session(source, device, preset=preset, assumed=assumed, tf32=False)
    model = read_graph(source)
    precision = find_precision(model)
    if backend == "auto":
        backend = find_fastest(device)
    if precision == "fp16" and device.kind == "cpu" and backend in (None, "onnxruntime"):
        session = open_graph(round_like_fp16(model), source, preset=preset, assumed=assumed, optimize=False)
        session.info = replace(session.info, provider="rounds to FP16 after each node")
    else:
        session = open_session(source, device, backend=backend, preset=preset, assumed=assumed, tf32=False)
    if precision == "int8" or session.info.precision != "bf16":
        session.info = replace(session.info, precision=precision)
    return session


def check_variant(reference: SessionInfo, candidate: SessionInfo) -> None:
    """Raise InputError if the files say that one is a U2NET and the other a U2NETP."""
    if None not in (reference.variant, candidate.variant) and reference.variant != candidate.variant:
        raise InputError(
            f"{candidate.path} is {candidate.variant}, the reference {reference.path} is {reference.variant}; name its "
            "own checkpoint as the reference, which is --reference of `bench` and the first argument of `verify`"
        )


def claimed_preset(candidate: Session, wanted: Preset | None) -> Preset:
    """Return the preset for the reference's input: the wanted one, else the published one that the candidate names.

    The numbers in the candidate's own preset are not used, so that a wrong one shows as a difference.
    """
    info = candidate.info
    if not info.preset_stated:
        return wanted or info.preset
    chosen = wanted or PRESETS.get(info.preset.name, info.preset)
    return chosen.with_size(info.preset.height, info.preset.width)


def pair_outputs(reference: Session, candidate: Session) -> dict[str, str]:
    """Return the reference's name for each of the candidate's outputs.

    Files of other exporters use other names: a single output is ``d0``, seven are ``d0``…``d6`` in order. Raise
    InputError if an output has no counterpart.
    """
    ours, theirs = reference.info.outputs, candidate.info.outputs
    if set(theirs) <= set(ours):
        return {name: name for name in theirs}
    known, wanted = _canonical_names(ours), _canonical_names(theirs)
    if not wanted or not set(wanted) <= set(known):
        raise InputError(
            f"{candidate.info.path} gives {', '.join(theirs)}, {reference.info.path} only {', '.join(ours)}; "
            "other names are matched by position only if there are one or seven"
        )
    own_names = dict(zip(known, ours, strict=True))
    return {name: own_names[each] for name, each in zip(theirs, wanted, strict=True)}


def _canonical_names(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return each output's name among ``d0``…``d6``; empty if there are neither one nor seven outputs."""
    if set(outputs) <= set(OUTPUT_NAMES):
        return outputs
    return OUTPUT_NAMES[: len(outputs)] if len(outputs) in (1, len(OUTPUT_NAMES)) else ()
