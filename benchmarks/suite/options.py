"""Options of the suite."""

import math
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from u2net.benchmarks.suite.contestants import ENGINES, HERE, REMBG, list_contestants
from u2net.model.network import VARIANTS
from u2net.runtime.artifact import InputShape
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import InputError
from u2net.runtime.files import check_readable
from u2net.runtime.images import find_images
from u2net.runtime.kinds import check_counts, check_options
from u2net.runtime.trt.building.engine_options import OPT_LEVELS

DEFAULT_BATCHES: Mapping[str, tuple[int, ...]] = {"cpu": (1, 4), "cuda": (1, 8, 32)}
"""Batch sizes by kind of device if none are asked for."""

DEFAULT_CALLERS: Mapping[str, tuple[int, ...]] = {"cpu": (1, 4, 32), "cuda": (1, 2, 4, 8, 16, 32)}
"""Numbers of callers. On a processor one run already takes all cores, so few suffice."""


@dataclass(frozen=True)
class SuiteOptions:
    """What to measure, on what, and for how long.

    Attributes:
        networks: ``u2netp``, ``u2net``.
        batches: batch sizes; none means :data:`DEFAULT_BATCHES`.
        size: side of the square input in pixels.
        contestants: keys of those to measure beside eager PyTorch; none means all.
        rounds: largest number of turns for each contestant.
        minutes: limit of the measurement, after graphs and engines are made. What is known by then is reported.
        build_minutes: limit of building one engine.
        opt_level: optimization level of TensorRT's builder, 0 to 5; None takes its default.
        threads: processor threads of each contestant; None means all usable cores.
        growth: largest memory in GB up to which time and memory are measured against batch and side; None skips that.
        callers: numbers of concurrent callers under which the throughput of a runtime's session is measured; None means
            :data:`DEFAULT_CALLERS`.
        seed: seed of the order of the turns.
        checkpoints: weights to take instead of the bundled ones or, for U2NET, of untrained ones.
        images: folder of photographs; None means synthetic scenes.
        pythons: other interpreters, by the names ``rembg`` and ``tensorrt``.
        work: folder for graphs and engines; those of an earlier run are used again.
    """

    device: Device = CPU
    networks: tuple[str, ...] = ("u2netp", "u2net")
    batches: tuple[int, ...] = ()
    size: int = 320
    contestants: tuple[str, ...] = ()
    rounds: int = 15
    minutes: float = 14.0
    build_minutes: float = 6.0
    opt_level: int | None = None
    threads: int | None = None
    growth: float | None = None
    callers: tuple[int, ...] | None = None
    seed: int = 0
    checkpoints: tuple[Path, ...] = ()
    images: Path | None = None
    pythons: Mapping[str, str] = field(default_factory=dict)
    work: Path = Path("build/suite")

    def check(self) -> None:
        """Raise InputError for a value that cannot be used."""
        check_options(self, "the options of the suite")
        unknown = [name for name in self.networks if name not in VARIANTS]
        if unknown or not self.networks:
            raise InputError(f"networks are {', '.join(VARIANTS)}; got {', '.join(self.networks) or 'none'}")
        list_contestants(self.device, (), self.contestants)
        if self.images is not None:
            find_images(self.images)
        for path in self.checkpoints:
            check_readable(path, InputError)
        check_counts("batch", *self.batches)
        check_counts("threads", self.threads)
        InputShape(None, None, None).check_size(self.size, self.size)
        if self.growth is not None and not 0 < self.growth < math.inf:
            raise InputError(f"growth is a bound of memory in GB, above 0; got {self.growth}")
        if self.rounds < 2 or not min(self.minutes, self.build_minutes) > 0:
            raise InputError("the suite takes at least 2 rounds and limits above 0 minutes")
        if self.opt_level is not None and self.opt_level not in OPT_LEVELS:
            raise InputError(f"the optimization level is 0 to 5; got {self.opt_level}")
        if strange := set(self.pythons) - {REMBG, ENGINES}:
            raise InputError(f"--python names {REMBG} or {ENGINES}; got {', '.join(sorted(strange))}")
        for name, python in self.pythons.items():
            if shutil.which(python) is None:
                raise InputError(f"there is no program {python}, which --python {name} names")

    def python(self, name: str) -> str | None:
        """Return the interpreter of that name, or None if it was not given."""
        return self.pythons.get(name) or (sys.executable if name == HERE else None)
