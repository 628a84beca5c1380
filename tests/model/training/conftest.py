"""A training that takes seconds, and memory that is too small."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from u2net.model.network import U2NETP
from u2net.model.training import Phase, Recipe, TrainOptions, TrainResult, TrainStatus, train_network
from u2net.model.training.learner import Supervised

RECIPE = Recipe(size=48, phases=(Phase(0.0, 32),), batch=2, learning_rate=1e-3)
OPTIONS = TrainOptions(recipe=RECIPE, epochs=2, seed=3)

STEPS = 3
"""Steps per epoch: seven pictures in batches of two."""

Trained = tuple[TrainResult, list[TrainStatus]]


def read_log(output: Path) -> list[dict[str, str]]:
    """Return the rows of all logs of a training, in order."""
    rows: list[dict[str, str]] = []
    for found in sorted(output.rglob("metrics.csv")):
        with found.open(newline="") as stream:
            rows += csv.DictReader(stream)
    return rows


def logged(output: Path, name: str) -> list[float]:
    """Return the values of one column, in order."""
    return [float(row[name]) for row in read_log(output) if row.get(name)]


@pytest.fixture(scope="session")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train two epochs on the scenes; return the result and what was reported."""
    reported: list[TrainStatus] = []
    return train_network(scenes, tmp_path_factory.mktemp("trained") / "run", OPTIONS, reported.append), reported


@pytest.fixture
def network() -> U2NETP:
    torch.manual_seed(1)
    return U2NETP()


@dataclass
class Cramped:
    """Memory with room for the forward pass of ``room`` pictures."""

    room: int = 3
    sizes: list[int] = field(default_factory=list)


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> Cramped:
    memory, forward = Cramped(), Supervised.forward

    def limited(supervised: Supervised, images: Tensor, masks: Tensor) -> Tensor:
        memory.sizes.append(len(images))
        loss = forward(supervised, images, masks)
        if len(images) > memory.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    monkeypatch.setattr(Supervised, "forward", limited)
    return memory
