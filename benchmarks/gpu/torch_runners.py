"""The network in PyTorch: eager, in a CUDA graph, compiled. Float32 in and float32 out, whatever it computes in."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from u2net.benchmarks.gpu.protocol import Open, RunnerKind
from u2net.export.wrapping import ChosenOutputs
from u2net.model.checkpoint import load_checkpoint
from u2net.model.placing import full_fp32, torch_device
from u2net.runtime.device import Device
from u2net.runtime.errors import DeviceError, OutOfMemoryError
from u2net.runtime.preprocess import FloatArray

OUTPUT = "d0"


class EagerRunner:
    """Operator by operator."""

    def __init__(self, command: Open, tensor: FloatArray) -> None:
        self._device = torch_device(Device.parse(command.device))
        half = command.precision == "fp16"
        if self._device.type != "cuda" and (half or command.runner != "eager"):
            raise DeviceError("this needs a CUDA device; on a processor PyTorch is measured in eager FP32 alone")
        self._half, self._tf32 = half, command.tf32
        network = load_checkpoint(command.file).network
        wrapped = ChosenOutputs(network, (OUTPUT,)).eval().to(self._device)
        # Channels last is what the GPU's FP16 convolutions want.
        self._network = wrapped.half().to(memory_format=torch.channels_last) if half else wrapped  # type: ignore[call-overload]
        pinned = self._device.type == "cuda"
        batch, _, height, width = tensor.shape
        self._host_input = torch.empty(tensor.shape, pin_memory=pinned)
        self._host_output = torch.empty((batch, 1, height, width), pin_memory=pinned)
        self._input = torch.from_numpy(tensor).to(self._device, copy=True)
        self.provider = f"torch {torch.__version__}"

    def infer(self, tensor: FloatArray) -> FloatArray:
        """See :class:`u2net.benchmarks.gpu.runners.Runner`; through pinned memory, as the runtime does it."""
        with self._settings():
            self._host_input.copy_(torch.from_numpy(tensor))
            self._input.copy_(self._host_input, non_blocking=True)
            self._host_output.copy_(self._run(), non_blocking=True)
            self._synchronize()
        fused: FloatArray = self._host_output.numpy().copy()
        return fused

    def time_device(self, repeats: int, warmup: int) -> list[float] | None:
        """See :class:`u2net.benchmarks.gpu.runners.Runner`."""
        if self._device.type != "cuda":
            return None
        with self._settings(), torch.cuda.device(self._device):
            for _ in range(warmup):
                self._run()
            events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]  # type: ignore[no-untyped-call]
            events[0].record()
            for event in events[1:]:
                self._run()
                event.record()
            self._synchronize()
        return [earlier.elapsed_time(later) / 1e3 for earlier, later in pairwise(events)]

    def _run(self) -> Tensor:
        """From the input on the device to d0 on the device, without waiting."""
        return self._forward(self._input)

    def _forward(self, pixels: Tensor) -> Tensor:
        if self._half:
            pixels = pixels.to(torch.float16, memory_format=torch.channels_last)
        fused: Tensor = self._network(pixels)[0]
        return fused.float()

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Whoever asks for FP16 wants speed, and lets cuDNN try its algorithms; FP32 runs on PyTorch's defaults."""
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = self._half
        try:
            with torch.inference_mode(), contextlib.nullcontext() if self._tf32 else full_fp32():
                yield
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(str(error)) from error
        finally:
            torch.backends.cudnn.benchmark = before

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class CapturedRunner(EagerRunner):
    """The same work recorded once and launched as one CUDA graph."""

    def __init__(self, command: Open, tensor: FloatArray) -> None:
        super().__init__(command, tensor)
        with self._settings(), torch.cuda.device(self._device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._forward(self._input)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._output = self._forward(self._input)

    def _run(self) -> Tensor:
        self._graph.replay()
        return self._output


class CompiledRunner(EagerRunner):
    """``torch.compile`` at its slowest to compile, CUDA graph and all."""

    def __init__(self, command: Open, tensor: FloatArray) -> None:
        super().__init__(command, tensor)
        torch.compiler.reset()
        self._compiled: Callable[[Tensor], Tensor] = torch.compile(self._forward, mode="max-autotune", dynamic=False)

    def _run(self) -> Tensor:
        return self._compiled(self._input)


TORCH_RUNNERS: Mapping[RunnerKind, type[EagerRunner]] = {
    "eager": EagerRunner,
    "captured": CapturedRunner,
    "compiled": CompiledRunner,
}


def settle_torch(name: str) -> None:
    """Start the GPU and load the libraries of its convolutions."""
    device = torch_device(Device.parse(name))
    if device.type == "cuda":
        for kind in (torch.float32, torch.float16):
            pixels = torch.zeros(1, 8, 32, 32, device=device, dtype=kind)
            torch.nn.functional.conv2d(pixels, torch.zeros(8, 8, 3, 3, device=device, dtype=kind))
        torch.cuda.synchronize(device)
