"""Files of a network that contestants open; those that an earlier run left are used again."""

import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from u2net.benchmarks.suite.contestants import IMAGES
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.export.build import export_model
from u2net.export.calibration import make_tensors
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import find_artifact, read_artifact, read_graph, write_graph
from u2net.export.image_graph import ImageOptions, fuse_images
from u2net.export.onnx_export import ExportOptions
from u2net.export.qdq import calibrate, quantize_convolutions
from u2net.export.silence import silenced
from u2net.model.checkpoint import Checkpoint, load_checkpoint, save_weights
from u2net.model.network import OUTPUT_NAMES, VARIANTS
from u2net.model.synthetic import make_scenes
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.errors import ArtifactError, ExportError
from u2net.runtime.files import written_whole

GRAPHS = ("fp32", "fp16", "int8")
"""Precisions of our own graphs."""


INT8_SCENES = 2
"""Number of synthetic scenes that an untrained network is calibrated on."""


@dataclass(frozen=True)
class NetworkFiles:
    """A network's weights, and the folder of the graphs made from them."""

    checkpoint: Checkpoint
    trained: bool
    """False for seeded weights: their maps lie near 0.5, so nothing can be told from differences."""
    folder: Path
    size: int
    missing: Mapping[Path, str] = field(default_factory=dict)
    """Files that are not there, and why."""
    given: Mapping[str, Path] = field(default_factory=dict)
    """Files that the user named, by a contestant's source."""

    @property
    def variant(self) -> str:
        """``u2net`` or ``u2netp``."""
        return self.checkpoint.variant

    def path(self, source: str, batch: int) -> Path:
        """Path of the file that a contestant opens at a batch size; see :attr:`Contestant.source`."""
        if source in self.given:
            return self.given[source]
        if source == "checkpoint":
            return self.checkpoint.path
        if source.removesuffix(IMAGES) not in ("plain", *GRAPHS):
            return self.folder / f"{self.variant}-{self.size}.{source}.engine"
        plain = f".batch{batch}.{self.checkpoint.sha256[:8]}" if source == "plain" else ""
        return self.folder / f"{self.variant}-{self.size}.{source}{plain}.onnx"


def find_network(variant: str, options: SuiteOptions) -> NetworkFiles:
    """Return the weights named in the options, else the bundled ones, else seeded ones.

    Raises:
        CheckpointError: a file that was named is not a checkpoint.
    """
    known = [load_checkpoint(path) for path in (*options.checkpoints, BUNDLED_WEIGHTS)]
    if found := next((each for each in known if each.variant == variant), None):
        return NetworkFiles(found, True, options.work, options.size)
    path = options.work / f"{variant}-untrained.safetensors"
    if not path.is_file():
        torch.manual_seed(0)
        save_weights(VARIANTS[variant](), path)
    return NetworkFiles(load_checkpoint(path), False, options.work, options.size)


def make_graphs(network: NetworkFiles, wanted: Container[str], options: SuiteOptions) -> NetworkFiles:
    """Write the graphs that contestants open, unless they exist; return the network with what is missing noted.

    FP32 is always written, because FLOPs are counted in it.

    Args:
        wanted: names of graphs; see :attr:`Contestant.graph`.
    """
    fp32, fp16 = (network.path(source, 1) for source in ("fp32", "fp16"))
    if not is_made_from(fp32, network.checkpoint):
        export_model(network.checkpoint, fp32, ExportOptions(size=(network.size, network.size)))
    if ("fp16" in wanted or f"fp16{IMAGES}" in wanted) and not is_made_from(fp16, network.checkpoint):
        convert_fp16(fp32, fp16, options.images)
    for precision in ("fp32", "fp16"):
        path = network.path(precision + IMAGES, 1)
        if precision + IMAGES in wanted and not is_made_from(path, network.checkpoint):
            fuse_images(network.path(precision, 1), path, ImageOptions(stretch=False))  # so that its masks are maps
    if "plain" in wanted:
        for batch in options.batches:
            make_plain_graph(network, batch)
    return make_int8_graph(network) if "int8" in wanted else network


def make_int8_graph(network: NetworkFiles) -> NetworkFiles:
    """Write the INT8 graph of an untrained network, where only speed matters; else note that it is missing.

    Quantizing a trained network takes minutes and photographs, so that is left to ``u2net export``.
    """
    fp32, int8 = network.path("fp32", 1), network.path("int8", 1)
    if is_made_from(int8, network.checkpoint):
        return network
    if network.trained:
        command = f"`u2net export {network.checkpoint.path} --precision int8 --images FOLDER -o {int8}`"
        return replace(network, missing={int8: f"not here: {command} makes its file"})
    artifact = read_artifact(read_graph(fp32), fp32)
    ranges = calibrate(fp32, make_tensors(artifact, make_scenes(INT8_SCENES)), "cpu", "minmax")
    write_graph(
        quantize_convolutions(fp32, ranges, "cpu"), int8, replace(artifact, precision="int8"), time.perf_counter()
    )
    return network


def make_plain_graph(network: NetworkFiles, batch: int) -> None:
    """Write the file that ``torch.onnx.export`` makes of the whole network by itself, for one batch size."""
    path = network.path("plain", batch)
    if path.is_file():
        return
    example = torch.zeros(batch, 3, network.size, network.size)
    with written_whole(path) as partial, silenced("torch.onnx"):
        torch.onnx.export(
            network.checkpoint.network.eval(),
            (example,),
            partial,
            output_names=list(OUTPUT_NAMES),
            external_data=False,
            verbose=False,
        )


def is_made_from(path: Path, checkpoint: Checkpoint) -> bool:
    """Tell whether a graph of an earlier run was exported from this checkpoint."""
    try:
        artifact = find_artifact(read_graph(path), path)
        return artifact is not None and artifact.checkpoint_sha256 == checkpoint.sha256
    except (ExportError, ArtifactError):
        return False
