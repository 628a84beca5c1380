"""Proves recovered weights: the network that has them and the ONNX file that they came from run side by side."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from onnx import version_converter

from u2net.export.graph import find_precision, open_graph
from u2net.model.network import OUTPUT_NAMES, U2Net
from u2net.model.synthetic import make_scenes
from u2net.runtime.errors import CheckpointError
from u2net.runtime.preprocess import preprocess
from u2net.runtime.presets import PRESETS

PROOF_LIMITS = {"fp32": 1e-4, "fp16": 1e-2}
"""Largest difference of probabilities that rounding explains, by the precision of the file.

Measured: 5e-7 and 1.2e-3 on the bundled weights, of which two swapped convolutions move some output by 3.7e-3 or more.
"""

HALF_PIXEL_OPSET = 11
"""First opset whose Resize can place pixels as PyTorch does; a file of an older one upsamples in another way."""

COPIES = frozenset({"Cast", "Identity", "Transpose"})
"""Operators that change no number of an output."""


def prove_weights(network: U2Net, model: ir.Model, source: Path) -> tuple[float, str]:
    """Return the largest difference to the file's outputs, and a note.

    Raise CheckpointError if rounding cannot explain it.
    """
    precision, opset = find_precision(model), model.opset_imports.get("", 0)
    limit = PROOF_LIMITS[precision]
    notes = ["the weights have the precision of FP16"] if precision == "fp16" else []
    last = _find_activation(model.graph.outputs[0])
    if last is None:
        notes.append("the file ends in logits, the checkpoint's network in probabilities")
    elif last == "Sigmoid" and network.out_channels > 1:
        notes.append("the file ends in a sigmoid for each class, the checkpoint's network in a softmax over them")
    difference = remaining = _largest_difference(network, model, source)
    if not difference <= limit and opset < HALF_PIXEL_OPSET:
        remaining = _largest_difference(network, _upsample_as_torch(model, source), source)
        notes.append(
            f"the weights are right but the file is wrong: opset {opset} cannot upsample as the network does; "
            f"with the network's own upsampling the file differs by {remaining:.1e}"
        )
    if not remaining <= limit:
        raise CheckpointError(
            f"{source} is not a U²-Net: its convolutions have the right shapes, but its outputs differ by up to "
            f"{remaining:.2g} from those of a {network.variant} with these weights; rounding explains at most {limit:g}"
        )
    return difference, "; ".join(notes)


def _find_activation(value: ir.Value | None) -> str | None:
    """Return the operator that makes an output of logits, Sigmoid or Softmax; None if the output is the logits."""
    node = None if value is None else value.producer()
    if node is not None and node.op_type in COPIES:
        return _find_activation(node.inputs[0])
    return node.op_type if node is not None and node.op_type in {"Sigmoid", "Softmax"} else None


def _largest_difference(network: U2Net, model: ir.Model, source: Path) -> float:
    """Run the network and a graph on a scene and on noise; return the largest difference of their probabilities."""
    differences = []
    activations = [_find_activation(value) for value in model.graph.outputs]
    with open_graph(model, source, assumed=PRESETS["reference"]) as session:
        named = set(session.info.outputs) <= set(OUTPUT_NAMES)
        names = session.info.outputs if named else OUTPUT_NAMES  # others' names are matched by position
        scene = preprocess(make_scenes(1)[0], session.info.preset)
        noise = np.random.default_rng(0).standard_normal(scene.shape, np.float32)
        for tensor in (scene, noise):
            with torch.inference_mode():
                logits = network.logits(torch.from_numpy(tensor))._asdict()
            for name, activation, found in zip(names, activations, session.infer(tensor).values(), strict=False):
                values = torch.from_numpy(found) if activation else network.probabilities(torch.from_numpy(found))
                wanted = logits[name].sigmoid() if activation == "Sigmoid" else network.probabilities(logits[name])
                same = values.shape == wanted.shape
                differences.append(float((values - wanted).abs().max()) if same else np.inf)
    return float(np.max(differences))


def _upsample_as_torch(model: ir.Model, source: Path) -> ir.Model:
    """Return a copy of a graph of an older opset in opset 11, whose upsampling places pixels as PyTorch does."""
    try:
        newer: ir.Model = ir.from_proto(version_converter.convert_version(ir.to_proto(model), HALF_PIXEL_OPSET))
    except (version_converter.ConvertError, RuntimeError) as error:
        raise CheckpointError(f"{source} cannot be compared, because onnx cannot upgrade it: {error}") from error
    for node in newer.graph:
        if node.op_type == "Resize":
            node.attributes.add(ir.AttrString("coordinate_transformation_mode", "half_pixel"))
    return newer
