"""Checkpoint to ONNX, with constant scales or sizes in every bilinear upsampling."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from u2net.export.graph import GraphStage, write_graph
from u2net.export.graph_passes import tidy_graph
from u2net.export.silence import silenced
from u2net.export.wrapping import wrap_network
from u2net.model.checkpoint import Checkpoint
from u2net.model.network import OUTPUT_NAMES
from u2net.runtime.artifact import INPUT_NAME, STEP, Artifact, InputShape
from u2net.runtime.errors import ExportError, InputError
from u2net.runtime.kinds import check_options
from u2net.runtime.packages import installed_versions
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.trt.profiles import LARGEST_VALUE

OPSETS = range(17, 22)
TORCH_OPSET = 18
"""Opset that torch's exporter writes; :func:`tidy_graph` declares the one that was asked for."""

TRACED_BATCH, TRACED_SIZE = 2, (2 * STEP, 3 * STEP)
"""Batch that every graph is traced at, and the height and width of those whose sides are multiples of 32."""


@dataclass(frozen=True)
class ExportOptions:
    """Inputs and outputs of the exported graph.

    Attributes:
        size: input height and width in pixels, each ≥ 32; None leaves both dynamic
            (multiples of 32 from 32 to 2048).
        batch: number of images per run; None leaves it dynamic.
        outputs: ``d0``, which is the mask, and any of ``d1``…``d6`` after it.
        opset: 17 to 21; 17 is the newest that TensorRT 8 reads.
        preset: preprocessing contract for the metadata; ``size`` replaces its size, which a dynamic network must take.
    """

    size: tuple[int, int] | None = (320, 320)
    batch: int | None = None
    outputs: tuple[str, ...] = ("d0",)
    opset: int = 17
    preset: Preset = PRESETS["reference"]

    @property
    def odd_size(self) -> tuple[int, int] | None:
        """The size if a side is no multiple of 32, else None."""
        return self.size if self.size and any(side % STEP for side in self.size) else None

    def check(self) -> None:
        """Raise InputError if a value is of the wrong type or out of range."""
        check_options(self, "the export options")
        if self.size is not None and min(self.size) < STEP:
            raise InputError(f"size is at least {STEP}×{STEP}; got {self.size[0]}×{self.size[1]}")
        if self.batch is not None and not 1 <= self.batch <= LARGEST_VALUE:
            raise InputError(f"batch is 1 to {LARGEST_VALUE}, or dynamic; got {self.batch}")
        if self.opset not in OPSETS:
            raise InputError(f"opset is {OPSETS.start} to {OPSETS.stop - 1}; got {self.opset}")
        unknown = [name for name in self.outputs if name not in OUTPUT_NAMES]
        if unknown or self.outputs[:1] != OUTPUT_NAMES[:1] or len(set(self.outputs)) < len(self.outputs):
            raise InputError(
                f"outputs are distinct names of {', '.join(OUTPUT_NAMES)}, and d0, which is the mask, is the first; "
                f"got {', '.join(self.outputs) or 'none'}"
            )
        self.preset.check()
        if self.size is None:
            InputShape(self.batch, None, None).check_size(self.preset.height, self.preset.width)


def export_onnx(checkpoint: Checkpoint, path: str | Path, options: ExportOptions | None = None) -> GraphStage:
    """Export a checkpoint as an FP32 ONNX graph with metadata.

    Raise InputError if an option is out of range, ExportError if torch cannot export or the file cannot be written.
    """
    options = options or ExportOptions()
    options.check()
    started = time.perf_counter()
    shape = InputShape(options.batch, *(options.size or (None, None)))
    model = trace_network(checkpoint, options.outputs, options.odd_size)
    tidy_graph(model, shape, options.opset)
    artifact = Artifact(
        variant=checkpoint.variant,
        checkpoint_sha256=checkpoint.sha256,
        preset=options.preset.with_size(*options.size) if options.size else options.preset,
        precision="fp32",
        shape=shape,
        outputs=options.outputs,
        classes=checkpoint.network.out_channels,
        opset=options.opset,
        fp32_nodes=(),
        versions=installed_versions(("u2net-deploy", "torch", "onnx", "onnxscript")),
    )
    return write_graph(model, Path(path), artifact, started)


def trace_network(
    checkpoint: Checkpoint, outputs: tuple[str, ...], odd_size: tuple[int, int] | None
) -> "torch.onnx.ir.Model":  # type: ignore[name-defined]
    """Return what torch exports, at a batch and a size that :func:`tidy_graph` replaces.

    Args:
        odd_size: height and width whose upsampling factors are not whole; None traces at multiples of 32, at which the
            graph is the same for every size.

    Raises:
        ExportError: torch cannot export the network.
    """
    wrapped = wrap_network(checkpoint.network, outputs, whole_factors=odd_size is None)
    try:
        with silenced("torch.onnx"):  # it speaks of torchvision and of deprecations
            program = torch.onnx.export(
                wrapped,
                (torch.zeros(TRACED_BATCH, 3, *(odd_size or TRACED_SIZE)),),
                dynamo=True,
                opset_version=TORCH_OPSET,
                input_names=[INPUT_NAME],
                output_names=list(outputs),
                verbose=False,
            )
    except (RuntimeError, MemoryError, torch.onnx.errors.OnnxExporterError) as error:  # too little memory, for example
        if _is_interrupt(error):
            raise KeyboardInterrupt from None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ExportError(f"torch cannot export the network at this size: {reason}") from error
    return program.model  # type: ignore[union-attr]  # None is for the older exporter


def _is_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error: torch reports it as a failure of its own."""
    behind = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt) or (behind is not None and _is_interrupt(behind))
