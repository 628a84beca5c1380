"""Eager PyTorch behind the backend seam: the reference that every other backend is compared with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from u2net.model.network import OUTPUT_NAMES, U2Net
from u2net.model.placing import full_fp32, torch_device
from u2net.runtime.artifact import InputShape, Precision
from u2net.runtime.backend import InputSpec
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.preprocess import FloatArray


class EagerBackend:
    """A network in FP32 eager PyTorch on one device."""

    artifact = contexts = None
    precision: Precision = "fp32"
    input = InputSpec(InputShape(None, None, None, any_size=True))

    def __init__(
        self, network: U2Net, device: Device, *, outputs: tuple[str, ...] = OUTPUT_NAMES, tf32: bool = False
    ) -> None:
        """Use the network itself on a processor, a copy on a GPU; ``tf32`` keeps PyTorch's own TF32 setting."""
        self._device = torch_device(device)
        self._network = (network if device.kind == "cpu" else deepcopy(network)).eval().to(self._device)
        self._precise = device.kind == "cuda" and not tf32
        self.outputs = outputs
        self.name = f"torch {torch.__version__}"
        self.provider = torch.cuda.get_device_name(self._device) if device.kind == "cuda" else "CPU"

    def batch_limit(self, _height: int, _width: int) -> None:
        """Only memory limits the batch."""
        return

    def run(self, tensor: FloatArray, outputs: Sequence[str]) -> dict[str, FloatArray]:
        """Run the network; see :class:`u2net.runtime.backend.Backend`."""
        maps = self._compute(torch.tensor(tensor, device=self._device), outputs)
        return {name: value.cpu().numpy() for name, value in maps.items()}

    def run_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object], stream: int | None
    ) -> dict[str, object]:
        """Run on a tensor in the device's memory; see :class:`u2net.runtime.backend.DeviceBackend`.

        Raise InputError if an array is on another device, or is not float32 of the right shape.
        """
        with self._in_stream(stream):
            pixels = self._as_tensor("the input", tensor)
            if pixels.shape[1] != 3 or len(pixels) < 1:
                raise InputError(f"the network takes N×3×H×W; got {tuple(pixels.shape)}")
            self.input.check_size(pixels.shape)
            maps = self._compute(pixels, outputs)
            if not isinstance(outputs, Mapping):
                return {**maps}
            for name, value in maps.items():
                target = self._as_tensor(name, outputs[name])
                if target.shape != value.shape:
                    raise InputError(f"output {name!r} is {tuple(value.shape)}, its array {tuple(target.shape)}")
                target.copy_(value)
        return dict(outputs)

    def _compute(self, tensor: Tensor, outputs: Sequence[str] | Mapping[str, object]) -> dict[str, Tensor]:
        with torch.inference_mode(), self._arithmetic():
            logits = self._network.logits(tensor)
            return {name: self._network.probabilities(logits[OUTPUT_NAMES.index(name)]) for name in outputs}

    def _arithmetic(self) -> AbstractContextManager[None]:
        return full_fp32() if self._precise else nullcontext()

    def _as_tensor(self, what: str, array: Any) -> Tensor:
        # Never as_tensor(…, device=…): it copies an array from elsewhere, and a result would go into the copy.
        if isinstance(array, Tensor):
            tensor = array
        elif hasattr(array, "__dlpack__"):
            tensor = torch.utils.dlpack.from_dlpack(array)
        elif hasattr(array, "__cuda_array_interface__"):
            tensor = torch.as_tensor(array)
        else:
            raise InputError(f"{what} must be an array in memory of {self._device}; got {type(array).__name__}")
        if tensor.device != self._device or tensor.dtype != torch.float32 or tensor.ndim != 4:
            found = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            raise InputError(f"{what} must be a float32 array N×C×H×W on {self._device}; got {found}")
        return tensor

    @contextmanager
    def _in_stream(self, stream: int | None) -> Iterator[None]:
        """Work in the caller's CUDA stream; without one, wait until the GPU is done."""
        if self._device.type != "cuda":
            yield
        elif stream is None:
            yield
            torch.cuda.synchronize(self._device)
        else:
            with torch.cuda.stream(torch.cuda.ExternalStream(stream, device=self._device)):  # type: ignore[no-untyped-call]
                yield
