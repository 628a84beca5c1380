"""ONNX Runtime behind the backend seam: CPU and CUDA providers, never one in place of the other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from u2net.runtime.artifact import METADATA_KEY, Artifact, InputShape
from u2net.runtime.backend import Fill, InputSpec
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DependencyError, DeviceError, InputError
from u2net.runtime.preprocess import FloatArray

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
QUIET = 3
"""ONNX Runtime's log level for errors only; what goes wrong comes back as an exception."""


class OnnxRuntimeBackend:
    """One ONNX file in one ``InferenceSession``."""

    def __init__(self, path: Path, device: Device, *, threads: int | None = None, tf32: bool = True) -> None:
        """Load the file.

        Args:
            threads: processor threads within one operator; None lets ONNX Runtime choose.
            tf32: let CUDA round FP32 convolutions to TF32.

        Raises:
            ArtifactError: the file is missing, damaged, or no single-input network.
            DependencyError: onnxruntime is not installed.
            DeviceError: the device's provider is missing or cannot start.
        """
        runtime = _import_onnxruntime(device)
        if not path.is_file():
            raise ArtifactError(f"{path}: there is no such file")
        _require_provider(runtime, device)
        try:
            self._session = _open(runtime, path, device, threads, tf32)
        except Exception as error:  # ONNX Runtime's exceptions share no public root but this one
            kind = DeviceError if device.kind == "cuda" and "CUDA" in str(error) else ArtifactError
            raise kind(f"{path} cannot be loaded by ONNX Runtime on {device}: {error}") from error
        used = self._session.get_providers()[0]
        if used != PROVIDERS[device.kind]:
            raise DeviceError(f"ONNX Runtime was asked for {device} and fell back to {used}; see `u2net doctor`")
        self.name = f"onnxruntime {runtime.__version__}"
        self.provider = used
        self.input = InputSpec(_declared_shape(self._session, path))
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.artifact = _metadata(self._session)

    def batch_limit(self, _height: int, _width: int) -> int | None:
        """The batch that the file declares, whatever the size; None where it is dynamic."""
        return self.input.shape.batch

    @contextmanager
    def run(
        self, shape: tuple[int, int, int, int], fill: Fill, outputs: Sequence[str]
    ) -> Iterator[dict[str, FloatArray]]:
        """Run the network; see :class:`u2net.runtime.backend.Backend`.

        Raises:
            InputError: ONNX Runtime refuses the tensor.
        """
        count = shape[0]
        tensor = np.zeros((self.input.shape.batch or count, *shape[1:]), np.float32)
        fill(tensor[:count])
        session = self._session
        try:
            values = session.run(list(outputs), {session.get_inputs()[0].name: tensor})
        except Exception as error:  # see __init__
            raise InputError(f"ONNX Runtime cannot run the network on {tensor.shape}: {error}") from error
        yield {name: value[:count] for name, value in zip(outputs, values, strict=True)}


def _import_onnxruntime(device: Device) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise DependencyError("onnxruntime", "cpu" if device.kind == "cpu" else "gpu") from None
    return onnxruntime


def _require_provider(runtime: Any, device: Device) -> None:
    available = runtime.get_available_providers()
    if PROVIDERS[device.kind] not in available:
        raise DeviceError(
            f"{device} was asked for, but onnxruntime {runtime.__version__} here has only {', '.join(available)}; "
            "`pip uninstall onnxruntime && pip install 'u2net-deploy[gpu]'` brings CUDA, device='cpu' does without"
        )


def _open(runtime: Any, path: Path, device: Device, threads: int | None, tf32: bool) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    if threads is not None:
        options.intra_op_num_threads = threads
    if device.kind == "cpu":
        return runtime.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]])
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = {"device_id": device.index, "use_tf32": int(tf32)}
    return runtime.InferenceSession(str(path), options, providers=[(PROVIDERS["cuda"], settings)])


def _declared_shape(session: Any, path: Path) -> InputShape:
    inputs = session.get_inputs()
    sides = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(sides) != 4 or sides[1] != 3 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{value.name}: {value.type} {value.shape}" for value in inputs)
        raise ArtifactError(f"{path} is no U²-Net: it takes {found or 'nothing'}, not one float32 N×3×H×W")
    for output in session.get_outputs():
        if len(output.shape) != 4 or output.type != "tensor(float)":
            raise ArtifactError(
                f"{path} is no U²-Net: it gives {output.name}: {output.type} {output.shape}, not float32 N×C×H×W"
            )
    batch, _, height, width = (side if isinstance(side, int) else None for side in sides)
    return InputShape(batch, height, width)


def _metadata(session: Any) -> Artifact | None:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    return None if text is None else Artifact.from_json(text)
