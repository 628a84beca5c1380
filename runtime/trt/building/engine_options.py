"""Options of an engine build."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from u2net.runtime.device import CUDA, Device
from u2net.runtime.errors import InputError
from u2net.runtime.files import check_target
from u2net.runtime.trt.flavours import Flavour
from u2net.runtime.trt.profiles import ProfileRequest

OPT_LEVELS = range(6)


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine build.

    Attributes:
        flavour: which TensorRT to use; None takes the installed one.
        profiles: ranges of batch and size.
        opt_level: builder optimization level, 0 to 5; a higher one searches longer. None takes TensorRT's default, 3.
        tf32: let the GPU round FP32 convolutions to TF32.
        timing_cache: file of kernel timings, read if it exists and written after the build; full TensorRT only.
        targets: compute capabilities such as ``sm_86`` to compile for ahead of time; TensorRT-RTX only.
            Without targets TensorRT-RTX compiles for every one that it supports from Ampere on.
        device: GPU that the full TensorRT builds on.
    """

    flavour: Flavour | None = None
    profiles: ProfileRequest = field(default_factory=ProfileRequest)
    opt_level: int | None = None
    tf32: bool = False
    timing_cache: str | Path | None = None
    targets: tuple[str, ...] = ()
    device: Device = CUDA

    def check(self, flavour: Flavour) -> None:
        """Raise InputError if an option cannot be used with this flavour."""
        if self.opt_level is not None and self.opt_level not in OPT_LEVELS:
            raise InputError(
                f"the optimization level is {OPT_LEVELS.start} to {OPT_LEVELS.stop - 1}; got {self.opt_level}"
            )
        if self.device.kind != "cuda":
            raise InputError(f"an engine is built for a GPU: the device is cuda or cuda:N; got {self.device}")
        if self.targets and flavour != "tensorrt-rtx":
            raise InputError("targets are for TensorRT-RTX; the full TensorRT builds for the GPU it runs on")
        wrong = [target for target in self.targets if not re.fullmatch(r"sm_\d{2,3}", target)]
        if wrong or len(set(self.targets)) < len(self.targets):
            raise InputError(f"targets are distinct compute capabilities such as sm_86; got {', '.join(self.targets)}")
        if self.timing_cache is not None and flavour == "tensorrt-rtx":
            raise InputError("TensorRT-RTX measures no kernels during a build, so it has no timing cache")
        if self.timing_cache is not None:
            check_target(self.timing_cache)
