"""Pre- and postprocessing inside a graph: it takes whole images, and gives their masks at the images' own size.

Pillow's antialiased resize is linear, so it is two matrix products. ONNX's Resize has an antialias attribute, but
TensorRT's parser refuses it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from u2net.export.graph import GraphStage, add_initializer, read_artifact, read_graph, write_graph
from u2net.runtime.artifact import BEFORE, BEHIND, IMAGE_NAME, MASK_NAME, Artifact, ImageIo, MaskType
from u2net.runtime.backend import Array
from u2net.runtime.errors import InputError
from u2net.runtime.files import check_target
from u2net.runtime.kinds import check_options
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.trt.profiles import LARGEST_VALUE

AXES_INPUT_OPSET = 18
"""From this opset on ReduceMax and ReduceMin take their axes as an input, before it as an attribute."""

MASK_TYPES: Mapping[MaskType, ir.DataType] = {"float32": ir.DataType.FLOAT, "uint8": ir.DataType.UINT8}

ZERO, ONE = np.array(0, np.float32), np.array(1, np.float32)


@dataclass(frozen=True)
class ImageOptions:
    """What a graph with pre- and postprocessing takes and gives.

    Attributes:
        source: height and width of the images, from which the resize's weights are computed once; None takes any size.
        mask: ``float32`` from 0 to 1, in which NaN shows, or ``uint8`` grey levels, in which it does not.
        stretch: stretch each map to [0, 1]; None follows the preset.
    """

    source: tuple[int, int] | None = None
    mask: MaskType = "float32"
    stretch: bool | None = None

    def check(self, preset: Preset, size: tuple[int, int] | None, outputs: tuple[str, ...]) -> None:
        """Raise InputError if a value is out of range, or a graph of this preset, size and outputs cannot be used."""
        check_options(self, "the options of a graph that takes images")
        if self.source is not None and not all(1 <= side <= LARGEST_VALUE for side in self.source):
            raise InputError(f"images are 1 to {LARGEST_VALUE} pixels high and wide; got {self.source}")
        if (preset.kernel, preset.mask_kernel, preset.depth) != ("bilinear", "bilinear", "float"):
            fitting = [each.name for each in PRESETS.values() if each.kernel == "bilinear"]
            raise InputError(
                f"preset {preset.name!r} resizes with {preset.kernel} in {preset.depth}; a graph that takes images "
                f"resizes bilinearly in float, as the presets {', '.join(fitting)} do"
            )
        if size is None:
            raise InputError("a graph that takes images resizes them to one size; export it with a fixed --size")
        if len(outputs) > 1:
            raise InputError(f"a graph that takes images gives the mask alone; got outputs {', '.join(outputs)}")


def fuse_images(source: str | Path, path: str | Path, options: ImageOptions | None = None) -> GraphStage:
    """Turn a graph that takes preprocessed tensors, in any precision, into one that takes images and gives masks.

    The new graph has the input ``image``, uint8 N×H×W×3 RGB, and the output ``mask``, N×H×W. What is added is
    FP32 in any graph, and does what the preset in the metadata says.

    Raises:
        ExportError: this project did not export the graph, or it takes images already.
        InputError: the preset does not resize bilinearly, the network's size is dynamic, or an option is out of range.
    """
    started = time.perf_counter()
    options = options or ImageOptions()
    source, path = Path(source), check_target(path, (".onnx",))
    model = read_graph(source)
    artifact = read_artifact(model, source)
    height, width = artifact.shape.height, artifact.shape.width
    options.check(artifact.preset, (height, width) if height and width else None, artifact.outputs)
    preset = artifact.preset if options.stretch is None else replace(artifact.preset, stretch=options.stretch)
    height_in, width_in = options.source or (None, None)
    io = ImageIo(height_in, width_in, options.mask)
    _fuse(model, replace(artifact, preset=preset), io)
    return write_graph(model, path, replace(artifact, preset=preset, image=io, outputs=(MASK_NAME,)), started)


def resize_weights(before: int, after: int) -> FloatArray:
    """Return the matrix, float32 after×before, that resizes a column of pixels as Pillow's bilinear kernel does.

    A pixel of the result is the mean of those under a triangle that is two pixels of the smaller side wide. Positions
    are whole multiples of 1 / (2 × before × after), so the triangle's heights are integers, exact in any precision.
    """
    centres = (2 * np.arange(before) + 1) * after
    targets = (2 * np.arange(after)[:, None] + 1) * before
    heights = np.maximum(2 * max(before, after) - np.abs(centres - targets), 0)
    weights: FloatArray = np.divide(heights, heights.sum(axis=1, keepdims=True), dtype=np.float32)
    return weights


def _fuse(model: ir.Model, artifact: Artifact, io: ImageIo) -> None:
    graph, preset = model.graph, artifact.preset
    sides = (artifact.shape.batch or "batch", io.height or "height", io.width or "width")
    image = ir.Value(name=IMAGE_NAME, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape((*sides, 3)))
    before, behind = _Nodes(graph, BEFORE, artifact.opset), _Nodes(graph, BEHIND, artifact.opset)
    first, tensor = graph[0], graph.inputs[0]
    ir.convenience.replace_all_uses_with(tensor, _preprocess(before, image, preset, io))
    mask = _postprocess(behind, graph.outputs[0], image, artifact, io)
    mask.name, mask.shape, mask.type = MASK_NAME, ir.Shape(sides), ir.TensorType(MASK_TYPES[io.mask])
    graph.insert_before(first, before.nodes)
    graph.extend(behind.nodes)
    graph.inputs[:], graph.outputs[:] = [image], [mask]


def _preprocess(op: "_Nodes", image: ir.Value, preset: Preset, io: ImageIo) -> ir.Value:
    height, width = preset.height, preset.width
    levels = op("Cast", image, to=ir.DataType.FLOAT)
    rows = op("Reshape", levels, np.array([0, 0, -1]))  # N×H×3W: the height is resized without a transposition
    rows = op("MatMul", op.weights(image, 1, io.height, after=height), rows)
    planes = op("Transpose", op("Reshape", rows, np.array([0, height, -1, 3])), perm=[0, 3, 1, 2])
    small = op("MatMul", planes, op("Transpose", op.weights(image, 2, io.width, after=width), perm=[1, 0]))
    divisor: ir.Value | FloatArray = np.array(255, np.float32)
    if preset.divisor == "max":
        divisor = op("Max", op.reduce("ReduceMax", small, [1, 2, 3]), np.array(preset.divisor_floor, np.float32))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (preset.mean, preset.std))
    return op("Div", op("Sub", op("Div", small, divisor), mean), std)


def _postprocess(op: "_Nodes", maps: ir.Value, image: ir.Value, artifact: Artifact, io: ImageIo) -> ir.Value:
    preset = artifact.preset
    if artifact.classes > 1:  # the mask is all but class 0, the background
        maps = op("Sub", ONE, op("Slice", maps, np.array([0]), np.array([1]), np.array([1])))
    plane = op("Reshape", maps, np.array([0, preset.height, preset.width]))
    if preset.invert:
        plane = op("Sub", ONE, plane)
    if preset.stretch:
        low, high = (op.reduce(kind, plane, [1, 2]) for kind in ("ReduceMin", "ReduceMax"))
        span = op("Sub", high, low)
        wide = op("Greater", span, np.array(preset.stretch_floor, np.float32))
        plane = op("Sub", plane, op("Where", wide, low, ZERO))
        plane = op("Div", plane, op("Where", wide, span, ONE))
    tall = op("MatMul", op.weights(image, 1, io.height, before=preset.height), plane)
    mask = op("MatMul", tall, op("Transpose", op.weights(image, 2, io.width, before=preset.width), perm=[1, 0]))
    if io.mask == "uint8":
        mask = op("Cast", op("Round", op("Mul", mask, np.array(255, np.float32))), to=ir.DataType.UINT8)
    return mask


class _Nodes:
    """Writes nodes of one part of a graph; an array among their inputs becomes an initializer."""

    def __init__(self, graph: ir.Graph, part: str, opset: int) -> None:
        self._graph, self._part, self._opset = graph, part, opset
        self.nodes: list[ir.Node] = []
        self._constants = 0

    def __call__(self, kind: str, *inputs: ir.Value | Array, **attributes: Any) -> ir.Value:
        name = f"{self._part}.{len(self.nodes)}.{kind.lower()}"
        values = [each if isinstance(each, ir.Value) else self._constant(each) for each in inputs]
        output = ir.Value(name=f"{name}:0")
        self.nodes.append(ir.node(kind, values, attributes, outputs=[output], name=name))
        return output

    def reduce(self, kind: str, value: ir.Value, axes: list[int]) -> ir.Value:
        """Reduce some axes to one value each, which stay as axes of length 1."""
        if self._opset >= AXES_INPUT_OPSET:
            return self(kind, value, np.array(axes), keepdims=1)
        return self(kind, value, axes=axes, keepdims=1)

    def weights(
        self, image: ir.Value, axis: int, side: int | None, *, before: int | None = None, after: int | None = None
    ) -> ir.Value | FloatArray:
        """Return what :func:`resize_weights` gives from or to a side of the image, computed in the graph if dynamic.

        Args:
            axis: axis of the image whose side is resized.
            side: length of that side; None if it is dynamic.
            before, after: the network's side; the one that is None is the image's.
        """
        if side is not None:
            return resize_weights(before or side, after or side)
        own = self("Gather", self("Shape", image), np.array(axis))
        known = np.array(before or after)
        old, new = (known, own) if before else (own, known)
        targets = self("Unsqueeze", self._odd_numbers(new, old), np.array([1]))
        distance = self("Sub", self._odd_numbers(old, new), targets)
        top = self("Mul", self("Max", old, new), np.array(2))
        heights = self("Max", self("Sub", top, self("Abs", distance)), np.array(0))
        total = self("ReduceSum", heights, np.array([1]), keepdims=1)
        return self("Div", *(self("Cast", each, to=ir.DataType.FLOAT) for each in (heights, total)))

    def _odd_numbers(self, count: ir.Value | Array, factor: ir.Value | Array) -> ir.Value:
        """Return 1, 3, 5 … times a factor."""
        numbers = self("Range", np.array(0), count, np.array(1))
        return self("Mul", self("Add", self("Mul", numbers, np.array(2)), np.array(1)), factor)

    def _constant(self, numbers: Array) -> ir.Value:
        self._constants += 1
        return add_initializer(self._graph, f"{self._part}.constant.{self._constants}", numbers)
