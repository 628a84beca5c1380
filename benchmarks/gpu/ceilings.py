"""What a GPU could do at most, for FP16 at 320×320."""

from collections.abc import Mapping
from dataclasses import dataclass

from u2net.benchmarks.gpu.figures import Share

SIZE = 320


@dataclass(frozen=True)
class Work:
    """Of one image."""

    gigaflop: float
    """In convolutions."""
    megabytes: float
    """That convolutions read and write in FP16."""


@dataclass(frozen=True)
class Peak:
    """What was measured on a GPU."""

    teraflops: float
    """Of a large FP16 matrix product."""
    terabytes: float
    """A second, of a copy within GPU memory, reads and writes counted."""


WORK: Mapping[str, Work] = {"u2net": Work(117.2, 290), "u2netp": Work(39.5, 205)}
PEAKS: Mapping[str, Peak] = {"H200": Peak(790, 4.3)}


def find_peak(gpu: str | None) -> Peak | None:
    """The figures of a GPU by its name; None where none are known."""
    return next((peak for name, peak in PEAKS.items() if gpu is not None and name in gpu), None)


def ceilings(network: str, peak: Peak) -> tuple[float, float]:
    """Images a second that arithmetic and traffic allow."""
    work = WORK[network]
    return peak.teraflops * 1e3 / work.gigaflop, peak.terabytes * 1e6 / work.megabytes


def share_of_ceilings(network: str, size: int, gpu: str | None, images_per_second: float) -> Share | None:
    """How near a throughput is to both; None at another size or on a GPU whose figures are not known."""
    peak = find_peak(gpu)
    if peak is None or size != SIZE:
        return None
    arithmetic, traffic = ceilings(network, peak)
    return Share(images_per_second / arithmetic, images_per_second / traffic)
