"""The network in PyTorch with what its documentation advises for speed: precisions, layouts, compiler, CUDA graphs."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from u2net.model.eager_backend import EagerBackend
from u2net.model.network import U2Net
from u2net.runtime.device import Device
from u2net.runtime.errors import OutOfMemoryError

WARMUP_RUNS = 3
"""Runs before a CUDA graph is captured, as PyTorch's documentation asks for."""

Captured = tuple[torch.cuda.CUDAGraph, Tensor, Tensor]
"""A CUDA graph with its input and its output."""


class TorchBackend(EagerBackend):
    """Float32 maps of a network that may compute in another precision."""

    def __init__(
        self,
        network: U2Net,
        device: Device,
        *,
        tf32: bool = False,
        channels_last: bool = False,
        autocast: bool = False,
        half: bool = False,
        compiled: bool = False,
        graph: bool = False,
    ) -> None:
        """Put the network on the device.

        Args:
            tf32: let CUDA round FP32 products to TF32 where PyTorch does so by default.
            channels_last: keep the channels of a pixel side by side in memory.
            autocast: compute in BF16 what gains from it.
            half: FP16 weights and maps, channels last, cuDNN's fastest algorithms.
            compiled: run through ``torch.compile``, on a GPU in its slowest mode, ``max-autotune``.
            graph: record one CUDA graph for each input shape.
        """
        super().__init__(network, device, outputs=("d0",), tf32=tf32)
        self._layout = torch.channels_last if channels_last or half else torch.contiguous_format
        self._kind = torch.float16 if half else torch.float32
        self._network = self._network.to(memory_format=self._layout).to(self._kind)  # type: ignore[call-overload]
        self._autocast = autocast
        torch.backends.cudnn.benchmark = half
        mode = "max-autotune" if device.kind == "cuda" else "default"
        self._forward = torch.compile(self._fused, mode=mode, dynamic=False) if compiled else self._fused
        self.precision = "fp16" if half else "bf16" if autocast else "fp32"
        self._captured: dict[tuple[int, ...], Captured] | None = {} if graph else None

    def _fused(self, pixels: Tensor) -> Tensor:
        """d0 of a batch: the other outputs are not activated, as in the files that the contestants run."""
        context = torch.autocast(pixels.device.type, torch.bfloat16) if self._autocast else nullcontext()
        with context:
            logits = self._network.logits(pixels.to(self._kind, memory_format=self._layout))
            return self._network.probabilities(logits[0]).float()

    def _compute(self, tensor: Tensor, outputs: Sequence[str] | Mapping[str, object]) -> dict[str, Tensor]:
        try:
            with torch.inference_mode(), self._arithmetic():
                found = self._forward(tensor) if self._captured is None else self._replay(tensor, self._captured)
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(str(error)) from error
        return dict.fromkeys(outputs, found)

    def _replay(self, tensor: Tensor, captured: dict[tuple[int, ...], Captured]) -> Tensor:
        if tuple(tensor.shape) not in captured:
            source = tensor.clone()
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARMUP_RUNS):
                    self._forward(source)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                found = self._forward(source)
            captured[tuple(tensor.shape)] = graph, source, found
        graph, source, found = captured[tuple(tensor.shape)]
        source.copy_(tensor)
        graph.replay()
        return found
