"""OpenVINO behind the backend seam."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np

from u2net.runtime.artifact import InputShape
from u2net.runtime.backend import Fill, InputSpec
from u2net.runtime.errors import DependencyError
from u2net.runtime.preprocess import FloatArray


class OpenVinoBackend:
    """One ONNX file in one compiled model; one run at a time."""

    artifact = None

    def __init__(self, path: Path, *, threads: int | None = None, precision: str | None = None) -> None:
        """Compile a file for the processor.

        Args:
            precision: ``f32`` or ``bf16``; None lets OpenVINO choose for the processor.
        """
        try:
            import openvino
        except ImportError:
            raise DependencyError("openvino", "bench") from None
        settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = precision
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = openvino.compile_model(path, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._lock = Lock()
        computed = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        self.provider = f"CPU, {computed}"
        self.outputs = tuple(port.any_name for port in compiled.outputs)
        batch, _, height, width = (
            side.get_length() if side.is_static else None for side in compiled.inputs[0].partial_shape
        )
        self.input = InputSpec(InputShape(batch, height, width))

    def batch_limit(self, _height: int, _width: int) -> int | None:
        """The batch that the graph declares; None if it is dynamic."""
        return self.input.shape.batch

    @contextmanager
    def run(
        self, shape: tuple[int, int, int, int], fill: Fill, outputs: Sequence[str]
    ) -> Iterator[dict[str, FloatArray]]:
        """Run the network; see :class:`Backend`."""
        tensor = np.zeros((self.input.shape.batch or shape[0], *shape[1:]), np.float32)
        fill(tensor[: shape[0]])
        with self._lock:
            found = self._request.infer([tensor], share_inputs=True)
            yield {name: found[name][: shape[0]] for name in outputs}
