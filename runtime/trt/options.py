"""What to compile an engine for."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from u2net.runtime.errors import InputError
from u2net.runtime.trt.flavours import Flavour
from u2net.runtime.trt.profiles import ProfileRequest

OPT_LEVELS = range(6)


@dataclass(frozen=True)
class EngineOptions:
    """What to compile for.

    Attributes:
        flavour: which TensorRT; None takes the one that is installed.
        profiles: ranges of batch and size.
        opt_level: 0 to 5, how long the builder searches; None takes its default, 3.
        tf32: let the GPU round FP32 convolutions to TF32.
        timing_cache: file of the builder's measurements, read where it is there and written afterwards;
            full TensorRT only.
        targets: compute capabilities (``sm_86``) to compile for where the GPU is not at hand; TensorRT-RTX only.
            None of them: TensorRT-RTX compiles for all it knows from Ampere on.
        device: number of the CUDA device that the full TensorRT builds on.
    """

    flavour: Flavour | None = None
    profiles: ProfileRequest = field(default_factory=ProfileRequest)
    opt_level: int | None = None
    tf32: bool = False
    timing_cache: Path | None = None
    targets: tuple[str, ...] = ()
    device: int = 0

    def check(self, flavour: Flavour) -> None:
        """Raise InputError where a value could not be used with that flavour."""
        if self.opt_level is not None and self.opt_level not in OPT_LEVELS:
            raise InputError(
                f"the optimization level is {OPT_LEVELS.start} to {OPT_LEVELS.stop - 1}; got {self.opt_level}"
            )
        if self.targets and flavour != "tensorrt-rtx":
            raise InputError("targets are for TensorRT-RTX; the full TensorRT builds for the GPU it runs on")
        wrong = [target for target in self.targets if not re.fullmatch(r"sm_\d{2,3}", target)]
        if wrong or len(set(self.targets)) < len(self.targets):
            raise InputError(f"targets are distinct compute capabilities such as sm_86; got {', '.join(self.targets)}")
        if self.timing_cache is not None and flavour == "tensorrt-rtx":
            raise InputError("TensorRT-RTX measures no kernels while it builds: it has no timing cache")
        if self.timing_cache is not None and self.timing_cache.is_dir():
            raise InputError(f"{self.timing_cache} is a folder; the timing cache is a file")
