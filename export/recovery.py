"""Recovers a checkpoint from an ONNX file: its weights in the network's own layout, proven by running both."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor, nn

from u2net.export.graph import QUANTIZED, read_graph
from u2net.export.recovery_proof import prove_weights
from u2net.model.checkpoint import save_weights
from u2net.model.network import VARIANTS, U2Net
from u2net.runtime.errors import CheckpointError, ExportError
from u2net.runtime.files import check_target, write_errors_as


@dataclass(frozen=True)
class RecoveredWeights:
    """A checkpoint that was recovered from an ONNX file."""

    path: Path
    variant: str
    classes: int
    """Channels of each output."""
    difference: float
    """Largest difference of probabilities between the recovered network and the file."""
    note: str
    """What else there is to know about the file; empty if there is nothing."""


def recover_checkpoint(path: str | Path, output: str | Path) -> RecoveredWeights:
    """Write the weights of an ONNX file, which another exporter may have made, as a ``.safetensors`` checkpoint.

    Where the file has batch norm folded into a convolution, the checkpoint's batch norm changes nothing. The recovered
    network and the file run on a synthetic scene and on noise; nothing is written if their outputs differ.

    Raise CheckpointError, which names the first difference, if the file is not a U²-Net or is quantized; ExportError if
    it is not ONNX or the checkpoint cannot be written; ArtifactError if ONNX Runtime cannot run it.
    """
    source, target = Path(path), check_target(output, (".safetensors",))
    model = read_graph(source)
    if [value.dtype for value in model.graph.inputs] == [ir.DataType.UINT8]:
        raise CheckpointError(f"{source} takes images; a checkpoint comes from a file of tensors (`--io tensor`) alone")
    network = _read_network(model, source)
    difference, note = prove_weights(network, model, source)
    with write_errors_as(ExportError, target):
        save_weights(network, target)
    return RecoveredWeights(target, network.variant, network.out_channels, difference, note)


def _read_network(model: ir.Model, source: Path) -> U2Net:
    """Build the network whose convolutions have the shapes of the file's, with the file's weights."""
    for node in model.graph:
        if QUANTIZED.fullmatch(node.op_type):
            raise CheckpointError(
                f"{source} is quantized, first in its node {node.name!r}, a {node.op_type}; a checkpoint needs weights "
                "in FP32 or FP16, so recover the file that it was made from"
            )
    try:
        model.graph.sort()
    except ValueError as error:
        raise CheckpointError(f"{source} is not a network: its nodes form a cycle") from error
    nodes = list(_find_convolutions(model.graph))
    weights = [_read_constant(_input(node, 1)) for node in nodes]
    network = _choose_network([() if each is None else each.shape for each in weights], source)
    state: dict[str, Tensor] = {}
    for (name, layer), node, weight in zip(_list_convolutions(network), nodes, weights, strict=True):
        state[f"{name}.weight"] = torch.from_numpy(weight)
        state[f"{name}.bias"] = _read_vector(_input(node, 2), f"{name}.bias", layer.out_channels, source)
        if name.endswith(".conv_s1"):
            norm = f"{name.removesuffix('conv_s1')}bn_s1"
            state |= _read_batch_norm(network.get_submodule(norm), norm, node, source)
    network.load_state_dict(state, assign=True)
    return network.eval()


def _find_convolutions(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the convolutions in the order in which the first output needs them, which is the network's own.

    The order of the nodes in the file would not do: ONNX Runtime, for one, changes it when it optimizes a graph.
    """
    done = set[ir.Node]()
    stack = [(value.producer(), False) for value in reversed(graph.outputs)]
    while stack:
        node, inputs_done = stack.pop()
        if node is None or node in done:
            continue
        if not inputs_done:
            stack.append((node, True))
            stack.extend((value.producer(), False) for value in reversed(node.inputs) if value is not None)
            continue
        done.add(node)
        if node.op_type == "Conv":
            yield node


def _list_convolutions(network: U2Net) -> list[tuple[str, nn.Conv2d]]:
    """Return the convolutions by name, in the order in which the network runs them."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def _choose_network(found: list[tuple[int, ...]], source: Path) -> U2Net:
    """Return a network without memory for its weights; raise CheckpointError if no variant has the shapes found."""
    classes = max([1, *found[-1][:1]]) if found else 1
    differences: dict[int, str] = {}
    for variant, kind in VARIANTS.items():
        with torch.device("meta"):
            network = kind(out_channels=classes)
        layers = [(name, tuple(layer.weight.shape)) for name, layer in _list_convolutions(network)]
        for index, (layer, shape) in enumerate(zip_longest(layers, found)):
            if layer is None or layer[1] != shape:
                wanted = f"{layer[0]} with weights of shape {layer[1]}" if layer else "one too many"
                there = "no more" if shape is None else f"shape {shape}" if shape else "weights that are computed"
                differences[index] = f"convolution {index + 1} of a {variant} is {wanted}; found {there}"
                break
        else:
            return network
    first = differences[max(differences)]
    raise CheckpointError(f"{source} is not a U²-Net: {first} ({len(found)} convolutions in all, of {len(layers)})")


def _read_batch_norm(module: nn.Module, name: str, convolution: ir.Node, source: Path) -> dict[str, Tensor]:
    """Return the state of the batch norm behind a convolution; if it was folded, one that changes nothing."""
    size, eps = int(module.num_features), float(module.eps)  # type: ignore[arg-type]
    counter = {f"{name}.num_batches_tracked": torch.tensor(0)}
    keys = [f"{name}.{key}" for key in ("weight", "bias", "running_mean", "running_var")]
    users = [use.node for use in convolution.outputs[0].uses()]
    node = next((user for user in users if user.op_type == "BatchNormalization"), None)
    if node is None:
        values = [torch.ones(size), torch.zeros(size), torch.zeros(size), torch.full((size,), 1 - eps)]
        return counter | dict(zip(keys, values, strict=True))
    if len(node.outputs) > 1:
        raise CheckpointError(
            f"{source} was exported in training mode: {name} takes its statistics from the batch, so no output can be "
            "compared; export the network in eval mode"
        )
    state = {key: _read_vector(_input(node, index), key, size, source) for index, key in enumerate(keys, start=1)}
    epsilon = node.attributes.get("epsilon")
    if epsilon is not None:
        state[keys[-1]] += float(np.float32(epsilon.as_float()) - np.float32(eps))
    return counter | state


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _read_vector(value: ir.Value | None, name: str, size: int, source: Path) -> Tensor:
    """Return one number for each channel; zeros if the file leaves them out."""
    if value is None:
        return torch.zeros(size)
    numbers = _read_constant(value)
    if numbers is None or numbers.shape != (size,):
        found = "is computed" if numbers is None else f"has shape {numbers.shape}"
        raise CheckpointError(f"{source} is not a U²-Net: {name} {found}; expected {size} stored numbers")
    return torch.from_numpy(numbers)


def _read_constant(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """Return a copy of stored numbers, also from behind a Cast; None if they are computed."""
    while value is not None and (node := value.producer()) is not None and node.op_type in {"Cast", "Identity"}:
        value = node.inputs[0]
    return None if value is None or value.const_value is None else np.array(value.const_value.numpy(), np.float32)
