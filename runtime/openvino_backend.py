"""OpenVINO behind the backend seam: ONNX files on a processor, in FP32, BF16 or INT8."""

import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from u2net.runtime.artifact import METADATA_KEY, Artifact, Precision
from u2net.runtime.backend import NUMBERS, Array, TensorInfo, find_input, padded, widened
from u2net.runtime.cores import limited_cores
from u2net.runtime.device import Device
from u2net.runtime.errors import (
    MEMORY_ADVICE,
    ArtifactError,
    DependencyError,
    DeviceError,
    InputError,
    OutOfMemoryError,
    U2NetError,
    means_no_memory,
)
from u2net.runtime.files import check_readable
from u2net.runtime.pool import Pool

NO_GRAPH_WORDS = ("Unable to read the model", "Model can't be parsed", "externally stored data")
"""Phrases in OpenVINO's errors that mean that a file is no complete ONNX graph."""


class OpenVinoBackend:
    """One ONNX file in one compiled model, with a request of its own for each run at once."""

    def __init__(
        self,
        path: Path,
        device: Device,
        *,
        bf16: bool = False,
        threads: int | None = None,
        contexts: int = 1,
        any_image: bool = True,
    ) -> None:
        """Compile a file for the processor. Errors are those of :func:`u2net.runtime.load`.

        Args:
            bf16: compute in BF16 instead of FP32, even for an FP16 file; quantized operations run in INT8 either way.
            threads: processor threads of all runs together.
            contexts: largest number of runs at once; further threads wait.
            any_image: take a graph of images of any size, too. OpenVINO keeps memory for each new size.
        """
        try:
            openvino = _import_openvino()
        except ImportError:
            raise DependencyError("openvino", "openvino") from None
        if device.kind != "cpu":
            raise DeviceError(f"{device} was asked for, but OpenVINO runs on the processor; name the device cpu")
        check_readable(path, ArtifactError)
        if bf16 and not computes_in_bf16():
            raise DeviceError("this processor does not compute in BF16; backend='openvino' computes in FP32")
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32", "NUM_STREAMS": contexts}
        if threads := threads or limited_cores():
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = _core(openvino).read_model(path)
            inputs = [_describe(port) for port in model.inputs]
            outputs = [_describe(port) for port in model.outputs]  # compiling may rename them
            self.input = find_input(path, inputs, outputs)
            if self.input.takes_any_image and not any_image:
                raise ArtifactError(f"{path} takes images of any size, and OpenVINO keeps memory for each new one")
            self._compiled = _core(openvino).compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise _failure(error, f"{path} cannot be loaded by OpenVINO", ArtifactError) from error
        nodes = model.get_ops()
        # OpenVINO's ReLU makes 0 of NaN, so a damaged network would look sound.
        if any(not np.isfinite(each.data).all() for each in nodes if _is_float_constant(each)):
            raise ArtifactError(f"{path} holds NaN or Inf among its weights; export it again from a sound checkpoint")
        if any(map(_rounds_to_signed, nodes)):
            raise ArtifactError(
                f"{path} was quantized for TensorRT: its int8 activations are signed, with which OpenVINO is "
                "less exact on many processors; `u2net export --precision int8 --target cpu` makes a file for OpenVINO"
            )
        key = ["framework", METADATA_KEY]
        self.artifact = Artifact.from_json(model.get_rt_info(key).astype(str), path) if model.has_rt_info(key) else None
        quantized = any(each.get_type_name() == "FakeQuantize" for each in nodes)
        self.precision: Precision | None = "int8" if quantized else "bf16" if bf16 else None
        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        self.provider = f"CPU, {'INT8 and ' if quantized else ''}{'BF16' if bf16 else 'FP32'}"
        self.outputs = tuple(output.name for output in outputs)
        self._dtype = NUMBERS[inputs[0].kind]
        self.contexts = contexts
        self._requests = Pool(partial(_new_request, self._compiled), contexts)

    def batch_limit(self, _height: int, _width: int) -> int | None:
        """The batch that the graph declares, at any size; None if it is dynamic."""
        return self.input.shape.batch

    def run(self, tensor: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """See :class:`Backend`. A refused tensor is an InputError."""
        if not np.isfinite(tensor).all():
            raise InputError("the tensor holds NaN or Inf, which OpenVINO would hide")
        with self._requests.lend(lambda _request: True) as request:
            batch = padded(tensor, self.input.shape.batch).astype(self._dtype, copy=False)
            try:
                found = request.infer([batch], share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise _failure(error, f"OpenVINO cannot run the network on {batch.shape}", InputError) from error
            maps = dict(zip(self.outputs, found.values(), strict=True))
            return {name: widened(np.array(maps[name][: len(tensor)])) for name in outputs}


def computes_in_bf16() -> bool:
    """True if OpenVINO finds instructions for BF16. Raise ImportError if it is not installed."""
    return "BF16" in _core(_import_openvino()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _new_request(compiled: Any) -> Any:
    try:
        return compiled.create_infer_request()
    except RuntimeError as error:
        raise _failure(error, "OpenVINO cannot prepare a run", DeviceError) from error


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which tells Google Analytics of each import. May raise ImportError."""
    name, modules = "openvino_telemetry", cast("dict[str, ModuleType | None]", sys.modules)
    here = modules.setdefault(name, None)  # so it cannot be imported, and OpenVINO takes its own stub instead
    try:
        import openvino

        return openvino
    finally:
        if here is None:
            modules.pop(name, None)


@cache
def _core(openvino: Any) -> Any:
    """Return the only Core of the process, which is never freed.

    OpenVINO gives the thread that makes the first Core a signal stack, and unmaps it when the last Core is freed. If
    another thread frees that Core, the next signal kills the process.
    """
    return openvino.Core()


def _is_float_constant(node: Any) -> bool:
    return node.get_type_name() == "Constant" and bool(node.get_element_type().is_real())


def _rounds_to_signed(node: Any) -> bool:
    """Tell whether a node rounds activations, not weights, to signed integers."""
    if node.get_type_name() != "FakeQuantize" or node.input_value(0).get_node().get_type_name() == "Constant":
        return False
    return bool(node.input_value(3).get_node().data.min() < 0)  # the lowest integer


def _describe(port: Any) -> TensorInfo:
    sides = port.partial_shape
    shape = [side.get_length() if side.is_static else None for side in sides] if sides.rank.is_static else []
    return TensorInfo(port.any_name, port.element_type.get_type_name(), shape)


def _failure(error: Exception, what: str, refusal: type[U2NetError]) -> U2NetError:
    said = str(error).strip()
    if means_no_memory(said):
        return OutOfMemoryError(f"{what}: {said}; {MEMORY_ADVICE}")
    if any(words in said for words in NO_GRAPH_WORDS):
        said = "it is damaged, or no ONNX file, or weights that it keeps in another file are missing"
    return refusal(f"{what}: {said}")
