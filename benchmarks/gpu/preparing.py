"""Weights and graphs, made in the Python that has torch."""

import shutil
from pathlib import Path
from typing import Any

import torch

from u2net.benchmarks.gpu.protocol import Command, Describe, Export, Seed, Train
from u2net.export.build import export_model
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import read_artifact, read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.model.checkpoint import load_checkpoint, save_weights
from u2net.model.network import VARIANTS
from u2net.model.synthetic import write_scenes
from u2net.runtime.artifact import Artifact
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DependencyError, ExportError, InputError
from u2net.runtime.files import hash_file

OPSET = 17
"""The newest that TensorRT 8 reads; newer ones read it too."""

SCENES, SCENE_SIDE, SCENE_SEED = 320, 256, 10_000
"""Training scenes; their seeds are far from those of the scenes that anything is measured on."""

DRY_SCENES, DRY_SIDE = 12, 64
"""The same on a processor, where it only has to be seen to work."""


def do(command: Command) -> dict[str, Any]:
    """Do one of the commands that make files."""
    match command:
        case Describe():
            return {"variant": load_checkpoint(command.path).variant}
        case Seed():
            torch.manual_seed(0)
            save_weights(VARIANTS[command.variant](), Path(command.path))
            return {}
        case Train():
            return _train(command)
        case Export():
            return _export(command)
        case _:
            raise InputError(f"there is no command {type(command).__name__}")


def _train(command: Train) -> dict[str, Any]:
    """A small recipe: enough for maps that span [0, 1], not for a good network."""
    from u2net.model.training import Phase, Recipe, TrainOptions, train_network

    kind = Device.parse(command.device).kind
    side, count = (SCENE_SIDE, SCENES) if kind == "cuda" else (DRY_SIDE, DRY_SCENES)
    folder = Path(command.path).with_suffix(".training")
    shutil.rmtree(folder, ignore_errors=True)
    write_scenes(folder / "scenes", count, seed=SCENE_SEED, size=side)
    options = TrainOptions(
        variant=command.variant,
        recipe=Recipe(
            size=side,
            phases=(Phase(0.0, side * 7 // 8),),
            batch=8 if kind == "cuda" else 2,
            learning_rate=1e-3,
            annealed=True,
            precision="bf16-mixed" if kind == "cuda" else "32-true",
        ),
        minutes=command.minutes,
        device=Device.parse(command.device),
    )
    result = train_network(folder / "scenes", folder / "run", options)
    result.weights.replace(command.path)
    shutil.rmtree(folder, ignore_errors=True)
    scores = result.scores
    return {"scenes": count} | ({"mae": scores.mae, "iou": scores.iou} if scores is not None else {})


def _export(command: Export) -> dict[str, Any]:
    """The FP16 graph and what its metadata says; one that an earlier run left is taken again."""
    checkpoint, path = Path(command.checkpoint), Path(command.path)
    options = ExportOptions(size=(command.size, command.size), opset=OPSET)
    artifact = _find_exported(path, checkpoint, options)
    note = ""
    if artifact is None:
        artifact, note = _export_now(checkpoint, path, options, Path(command.images) if command.images else None)
    return {"artifact": artifact.to_json(), "note": note}


def _find_exported(path: Path, checkpoint: Path, options: ExportOptions) -> Artifact | None:
    if not path.is_file():
        return None
    try:
        artifact = read_artifact(read_graph(path), path)
    except (ExportError, ArtifactError):
        return None
    found = (artifact.checkpoint_sha256, artifact.opset, artifact.shape.height, artifact.shape.width)
    return artifact if found == (hash_file(checkpoint), OPSET, *(options.size or ())) else None


def _export_now(checkpoint: Path, path: Path, options: ExportOptions, images: Path | None) -> tuple[Artifact, str]:
    """Export; without onnxsim the graph is left as torch's exporter writes it, which a note says."""
    try:
        return export_model(checkpoint, path, options, half=True, images=images).artifact, ""
    except DependencyError as error:
        if error.package != "onnxsim":
            raise
    plain = path.with_suffix(".fp32.onnx")
    exported = export_onnx(load_checkpoint(checkpoint), plain, options)
    stage = convert_fp16(exported.path, path, images)
    plain.unlink()
    return stage.artifact, "exported without onnxsim's simplification, which is not installed"
