"""OpenVINO behind the backend seam: ONNX files on a processor, in FP32 or BF16."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from u2net.runtime.artifact import METADATA_KEY, Artifact
from u2net.runtime.backend import Fill, InputSpec, TensorInfo, declared_shape
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DependencyError, DeviceError, InputError, OutOfMemoryError, U2NetError
from u2net.runtime.files import why_no_file
from u2net.runtime.pool import Pool
from u2net.runtime.preprocess import FloatArray

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of the precisions that it may be told to compute in."""

NO_MEMORY_WORDS = ("bad_alloc", "could not allocate", "out of memory")
"""How OpenVINO and C++ say, in lower case, that memory ran out."""


class OpenVinoBackend:
    """One ONNX file in one compiled model, with a request of its own for each run at once."""

    def __init__(
        self,
        path: Path,
        device: Device,
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        threads: int | None = None,
        contexts: int = 1,
    ) -> None:
        """Compile a file for the processor. Options and errors are those of :func:`u2net.runtime.load`."""
        try:
            import openvino
        except ImportError:
            raise DependencyError("openvino", "openvino") from None
        if device.kind != "cpu":
            raise DeviceError(f"{device} was asked for, but OpenVINO runs on the processor; name the device cpu")
        if not path.is_file():
            raise ArtifactError(why_no_file(path))
        core: Any = openvino.Core()
        if precision == "bf16" and not computes_in_bf16(core):
            raise DeviceError("this processor does not compute in BF16; backend='openvino' computes in FP32")
        settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": HINTS[precision], "NUM_STREAMS": contexts}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(path)
            self.input = InputSpec(
                declared_shape(path, *(map(_describe, ports) for ports in (model.inputs, model.outputs)))
            )
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise _failure(error, f"{path} cannot be loaded by OpenVINO", ArtifactError) from error
        key = ["framework", METADATA_KEY]
        self.artifact = Artifact.from_json(model.get_rt_info(key).astype(str), path) if model.has_rt_info(key) else None
        self.precision = None if precision == "fp32" else precision
        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        self.provider = f"CPU, {precision.upper()}"
        self.outputs = tuple(port.any_name for port in compiled.outputs)
        self._dtype = compiled.inputs[0].element_type.to_dtype()
        self._requests: Pool[Any] = Pool(compiled.create_infer_request, contexts)

    def batch_limit(self, _height: int, _width: int) -> int | None:
        """The batch that the graph declares, at any size; None if it is dynamic."""
        return self.input.shape.batch

    @contextmanager
    def run(
        self, shape: tuple[int, int, int, int], fill: Fill, outputs: Sequence[str]
    ) -> Iterator[dict[str, FloatArray]]:
        """See :class:`Backend`. A refused tensor is an InputError."""
        tensor = np.zeros((self.input.shape.batch or shape[0], *shape[1:]), np.float32)
        fill(tensor[: shape[0]])
        with self._requests.lend(lambda _request: True) as request:
            try:
                found = request.infer([tensor.astype(self._dtype, copy=False)], share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise _failure(error, f"OpenVINO cannot run the network on {tensor.shape}", InputError) from error
            yield {name: found[name][: shape[0]].astype(np.float32, copy=False) for name in outputs}


def computes_in_bf16(core: Any) -> bool:
    """True if the processor has instructions for BF16."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _describe(port: Any) -> TensorInfo:
    sides = port.partial_shape
    shape = [side.get_length() if side.is_static else None for side in sides] if sides.rank.is_static else []
    return TensorInfo(port.any_name, port.element_type.get_type_name(), shape)


def _failure(error: Exception, what: str, refusal: type[U2NetError]) -> U2NetError:
    said = str(error).strip()
    if any(words in said.lower() for words in NO_MEMORY_WORDS):
        return OutOfMemoryError(f"{what}: {said}; use a smaller batch or size, fewer contexts, or stop other programs")
    return refusal(f"{what}: {said}")
