"""Fixtures of the export tests: photographs on disk, networks beside the bundled one, FP16."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from tests.conftest import MakeOnce
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import GraphStage, read_artifact, read_graph, write_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, VerifyOptions
from u2net.export.parity.sessions import open_for_parity
from u2net.model.checkpoint import Checkpoint, load_checkpoint, save_weights
from u2net.model.network import OUTPUT_NAMES, U2NET, U2Net
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import CPU
from u2net.runtime.preprocess import preprocess
from u2net.runtime.presets import PRESETS

TINY = (128, 128)
"""Height and width for tests that run a network many times."""

STATIC = ExportOptions(size=(64, 96), batch=1)

ODD = ExportOptions(size=(75, 100), opset=20)
"""A size that is no multiple of 32."""

ODD_PAIRS = replace(ODD, batch=2, outputs=OUTPUT_NAMES, opset=18)

SEVEN_OUTPUTS = ExportOptions(size=(160, 192), outputs=OUTPUT_NAMES, opset=21)

DYNAMIC = ExportOptions(size=None, batch=None, preset=PRESETS["reference"].with_size(64, 64))
"""Dynamic batch and size; the gate compares at the preset's size, which is small here, and at a second one."""


@pytest.fixture(scope="session")
def dynamic_onnx(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights as FP32 ONNX of dynamic batch and size."""
    return exported(DYNAMIC)


@pytest.fixture(scope="session")
def photograph_folder(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, npt.NDArray[np.uint8]]) -> Path:
    """Two of the photographs as files."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "coffee"):
        Image.fromarray(photographs[name]).resize((200, 160)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_onnx(exported: Callable[[ExportOptions], Path]) -> Path:
    """The bundled weights as FP32 ONNX at 128×128."""
    return exported(ExportOptions(size=TINY))


@pytest.fixture(scope="session")
def gate(photograph_folder: Path) -> ParityGate:
    """The bundled weights in eager PyTorch on those photographs."""
    return ParityGate(open_for_parity(BUNDLED_WEIGHTS, CPU), VerifyOptions(images=photograph_folder))


@pytest.fixture(scope="session")
def tiny_fp16(make_once: MakeOnce, tiny_onnx: Path) -> Path:
    """The bundled weights as FP16 ONNX at 128×128."""
    return make_once("tiny", "model.fp16.onnx", lambda path: convert_fp16(tiny_onnx, path))


def restated(source: Path, path: Path, **changes: Any) -> Path:
    """Write a copy of a graph whose metadata says something else."""
    model = read_graph(source)
    artifact = replace(read_artifact(model, source), **changes)
    model.opset_imports[""] = artifact.opset
    return write_graph(model, path, artifact, 0.0).path


def spread_outputs(network: U2Net, image: npt.NDArray[np.uint8]) -> U2Net:
    """Make the probabilities of an untrained network span [0, 1], so that a comparison can fail.

    Batch norm gets its statistics from an image, and each side convolution is scaled to logits with deviation 3.
    """
    tensor = torch.from_numpy(preprocess(image, PRESETS["reference"].with_size(*TINY)))
    batch = torch.cat([tensor, tensor.flip(3)])
    with torch.no_grad():
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        network.logits(batch)
        network.eval()
        for index, logits in enumerate(network.logits(batch)[1:], start=1):
            side = network.get_submodule(f"side{index}")
            assert isinstance(side, torch.nn.Conv2d)
            side.weight *= 3 / logits.std()
        network.outconv.weight.fill_(1 / 6)
    return network


@pytest.fixture(scope="session")
def u2net_checkpoint(make_once: MakeOnce, photographs: dict[str, npt.NDArray[np.uint8]]) -> Checkpoint:
    """The full network with seeded weights whose probabilities span [0, 1]."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        save_weights(spread_outputs(U2NET(), photographs["coffee"]), path)

    return load_checkpoint(make_once("spread", "u2net.safetensors", write))


@pytest.fixture(scope="session")
def u2net_stage(tmp_path_factory: pytest.TempPathFactory, u2net_checkpoint: Checkpoint) -> GraphStage:
    """The full network as FP32 ONNX at 128×128."""
    path = tmp_path_factory.mktemp("u2net") / "model.onnx"
    return export_onnx(u2net_checkpoint, path, ExportOptions(size=TINY))
