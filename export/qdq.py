"""INT8 arithmetic by ONNX Runtime's quantizer: calibration, and QDQ pairs around chosen convolutions."""

from collections.abc import Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from u2net.export.silence import silenced
from u2net.runtime.artifact import INPUT_NAME, Calibrator, Target
from u2net.runtime.errors import ExportError
from u2net.runtime.preprocess import FloatArray

OPERATORS = ["Conv", "Relu"]
"""Operators around which pairs are set. A Relu behind a quantized convolution becomes part of its rounding."""

PERCENTILE = 99.999
"""Share of a value's magnitudes that its range covers, in percent, with the percentile calibrator."""


class _OneTensor(CalibrationDataReader):  # type: ignore[misc]
    """Gives one tensor, so that the calibrator keeps the maps of one image at a time."""

    def __init__(self, tensor: FloatArray) -> None:
        self._left = [{INPUT_NAME: tensor}]

    def get_next(self) -> dict[str, FloatArray] | None:
        return self._left.pop() if self._left else None


def calibrate(path: Path, tensors: Iterable[FloatArray], target: Target, calibrator: Calibrator) -> TensorsData:
    """Run an FP32 graph on preprocessed images and return the range of each input and output of a convolution.

    Raise ExportError if a value is NaN or Inf.
    """
    method = CalibrationMethod.MinMax if calibrator == "minmax" else CalibrationMethod.Percentile
    options = {"symmetric": target == "tensorrt", "percentile": PERCENTILE}
    with TemporaryDirectory() as scratch, silenced():
        collecting = create_calibrator(
            path, OPERATORS, str(Path(scratch) / "graph.onnx"), method, extra_options=options
        )
        for tensor in tensors:
            collecting.collect_data(_OneTensor(tensor))
        ranges = collecting.compute_data()
    if not all(np.isfinite(edge).all() for data in ranges.values() for edge in data.range_value):
        raise ExportError(f"{path} computes NaN or Inf on the photographs; export it again from a sound checkpoint")
    return ranges


def quantize_convolutions(
    path: Path, ranges: TensorsData, target: Target, names: Collection[str] | None = None
) -> ir.Model:
    """Return the graph with every convolution, or the named ones, in INT8: per-channel symmetric weights.

    Everything else is in FP32. For ``cpu`` activations are uint8 with a zero point, those behind a Relu are rounded
    once, and weights have 7 bits, from -64 to 64, so that the 16-bit sums of a processor without VNNI do not overflow.
    For ``tensorrt`` activations are int8 with zero point 0, rounded before each convolution alone, and biases stay in
    FP32.
    """
    signed = target == "tensorrt"
    options: dict[str, Any] = {"ActivationSymmetric": signed, "WeightSymmetric": True}
    if signed:
        options |= {
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": OPERATORS,
        }
    model = onnx.load(path)
    chosen = {
        node.name for node in model.graph.node if node.op_type == "Conv" and (names is None or node.name in names)
    }
    fed = {node.output[0] for node in model.graph.node if node.name in chosen}
    relus = [node.name for node in model.graph.node if node.op_type == "Relu" and node.input[0] in fed]
    activations = QuantType.QInt8 if signed else QuantType.QUInt8
    with silenced():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=not signed,
            weight_qType=QuantType.QInt8,
            activation_qType=activations,
            tensors_range=ranges,
            nodes_to_quantize=[*chosen, *relus],
            nodes_to_exclude=[],
            op_types_to_quantize=OPERATORS,
            extra_options=options,
        )
        quantizer.quantize_model()
    quantized: ir.Model = ir.from_proto(quantizer.model.model)
    quantized.graph.sort()  # the quantizer leaves its nodes at the end
    return quantized
