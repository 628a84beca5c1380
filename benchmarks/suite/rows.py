"""What the suite finds of each contestant."""

from dataclasses import dataclass, field
from pathlib import Path

from u2net.benchmarks.statistics import Latency, Ratio
from u2net.benchmarks.suite.contestants import Contestant
from u2net.runtime.preprocess import FloatArray

P99_RUNS = 100
"""Number of runs from which a 99th percentile means anything."""


@dataclass(frozen=True)
class Fidelity:
    """How far the maps are from those of exact eager PyTorch, over all pictures."""

    pictures: int
    iou: float
    """IoU of the masks at 0.5, pooled over all pixels."""
    mean: float
    """Mean absolute difference of the probabilities."""
    largest: float


@dataclass(frozen=True)
class PictureSteps:
    """Median milliseconds of the steps from an encoded picture to its mask; None for steps that are not ours."""

    height: int
    width: int
    decode: float
    whole: float
    preprocess: float | None = None
    compute: float | None = None
    postprocess: float | None = None


@dataclass(frozen=True)
class Load:
    """A session called from several threads at once."""

    callers: int
    images_per_second: float
    latency: Latency
    contexts: int | None
    """Largest number of runs at once; None if there is no bound."""


@dataclass
class Row:
    """One contestant on one network at one batch size. A figure that was not measured is None, and a note says why."""

    contestant: Contestant
    network: str
    batch: int
    file: Path | None = None
    """The file that it opened, if the user named it."""
    error: str = ""
    """Why there are no figures, or not all."""
    provider: str = ""
    cold: dict[str, float] = field(default_factory=dict)
    """Seconds of the steps until the first map."""
    wall: Latency | None = None
    """From host memory to host memory, copies included."""
    runs: int = 0
    """Number of runs behind :attr:`wall`; fewer than :data:`P99_RUNS` tell no 99th percentile."""
    device: Latency | None = None
    """From GPU memory to GPU memory, by CUDA events."""
    device_ratio: Ratio | None = None
    device_note: str = ""
    """Why there is no time on the device."""
    gpu_memory_mb: float | None = None
    """GPU memory that the process took beyond its CUDA context."""
    images_per_second: float | None = None
    ratio: Ratio | None = None
    """Speed relative to eager PyTorch at the same batch size."""
    limit_share: float | None = None
    """Least time that arithmetic and memory allow, over the median."""
    memory_mb: float | None = None
    fidelity: Fidelity | None = None
    fidelity_note: str = ""
    maps: FloatArray | None = field(default=None, repr=False, compare=False, metadata={"json": False})
    """Probabilities of the first photographs, N×1×H×W, to be shown."""
    pictures: list[PictureSteps] = field(default_factory=list)
    load: list[Load] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def knee(load: list[Load]) -> int | None:
    """Return the smallest number of callers that reaches 95 % of the largest throughput."""
    most = max((each.images_per_second for each in load), default=0.0)
    return next((each.callers for each in load if each.images_per_second >= 0.95 * most), None)
