"""State dicts and data that the model's tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from u2net.model.network import U2NETP
from u2net.model.synthetic import write_scenes

State = dict[str, Tensor]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Maps this small are faster on one thread, much so where other programs run beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def fresh_state() -> Callable[[int], State]:
    """State dict of a seeded U2NETP with that many output channels; each call gives a new dictionary."""
    kept: dict[int, State] = {}

    def state(channels: int = 1) -> State:
        if channels not in kept:
            torch.manual_seed(0)
            kept[channels] = U2NETP(out_channels=channels).state_dict()
        return dict(kept[channels])

    return state


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder of eight synthetic scenes of 64×64 pixels."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, 8, seed=5, size=64)
    return folder
