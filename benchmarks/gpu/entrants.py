"""A contestant in a cell: what was found of it, and the row that it makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from u2net.benchmarks.gpu.ceilings import share_of_ceilings
from u2net.benchmarks.gpu.contestants import EAGER, REFERENCE, Contestant
from u2net.benchmarks.gpu.deadline import Deadline
from u2net.benchmarks.gpu.figures import Parity, Row, time_figures
from u2net.benchmarks.gpu.likeness import compare_maps, why_unfit
from u2net.benchmarks.gpu.networks import UNTRAINED, Network
from u2net.benchmarks.gpu.protocol import Answer, Clock
from u2net.runtime.preprocess import FloatArray


@dataclass(frozen=True)
class Cell:
    """What is measured, and until when."""

    network: Network
    batch: int
    size: int
    device: str
    gpu: str | None
    rounds: int
    open_seconds: float
    until: Deadline
    """When it is to be done."""
    end: Deadline
    """When everything is to be done."""


@dataclass
class Entrant:
    """A contestant in a cell, with what is known of it so far."""

    contestant: Contestant
    errors: list[str] = field(default_factory=list)
    opened: bool = False
    stopped: set[Clock] = field(default_factory=set)
    """Clocks that it cannot be timed by."""
    provider: str = ""
    memory_mb: float | None = None
    open_seconds: float | None = None
    rounds: dict[Clock, list[list[float]]] = field(default_factory=lambda: {"wall": [], "device": []})
    maps: dict[str, FloatArray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take(self, answer: Answer, what: str) -> bool:
        """Note what came of a command; whether it worked."""
        self.warnings += [each for each in answer.warnings if each not in self.warnings]
        if not answer.worked:
            self.errors.append(f"{what}: {answer.error}")
        return answer.worked


def make_rows(entrants: Sequence[Entrant], cell: Cell) -> list[Row]:
    """A row each; speed is compared with eager FP32 as it comes, numbers with eager FP32 without TF32."""
    by_key = {entrant.contestant.key: entrant for entrant in entrants}
    return [_row(entrant, cell, by_key.get(EAGER), by_key.get(REFERENCE)) for entrant in entrants]


def _row(entrant: Entrant, cell: Cell, eager: Entrant | None, reference: Entrant | None) -> Row:
    contestant = entrant.contestant
    rounds, others = entrant.rounds, eager.rounds if eager else {}
    device = time_figures(rounds["device"], others.get("device"), cell.batch)
    parity, note = _parity(entrant, cell, reference)
    share = None
    if device is not None:
        share = share_of_ceilings(cell.network.name, cell.size, cell.gpu, device.images_per_second)
    return Row(
        key=contestant.key,
        title=contestant.title,
        network=cell.network.name,
        batch=cell.batch,
        precision=contestant.precision,
        is_tensorrt=contestant.is_tensorrt,
        provider=entrant.provider,
        device=device,
        wall=time_figures(rounds["wall"], others.get("wall"), cell.batch),
        memory_mb=entrant.memory_mb,
        open_seconds=entrant.open_seconds,
        parity=parity,
        parity_note=note,
        share=share,
        warnings=tuple(entrant.warnings),
        error="; ".join(entrant.errors),
    )


def _parity(entrant: Entrant, cell: Cell, reference: Entrant | None) -> tuple[tuple[Parity, ...], str]:
    if not cell.network.trained:
        return (), UNTRAINED
    if reference is None or not reference.maps:
        return (), "the reference, eager FP32 without TF32, did not run"
    found, notes = [], []
    for name in entrant.maps.keys() & reference.maps.keys():
        if why := why_unfit(reference.maps[name]):
            notes.append(f"not judged on the {name}: {why}")
        else:
            found.append(compare_maps(name, reference.maps[name], entrant.maps[name]))
    return tuple(sorted(found, key=lambda each: each.pictures)), "; ".join(sorted(notes))
