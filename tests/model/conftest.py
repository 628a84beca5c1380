"""State dicts, checkpoint files and data that several tests of the model share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.scenes import write_scenes
from u2net.model.checkpoint import load_checkpoint
from u2net.model.network import U2NETP
from u2net.runtime.errors import CheckpointError

State = dict[str, Tensor]
MakeState = Callable[[int], State]


def saved(content: object, path: Path) -> Path:
    """Write a pickle and return its path."""
    torch.save(content, path)
    return path


def refusal(path: Path) -> str:
    """Return the message with which a file is refused: one line that names the file and does not advise to trust it."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "weights_only" not in message
    return message


class Intruder:
    """An object whose unpickling creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Run on one thread, which is faster for maps this small, especially beside other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def fresh_state() -> MakeState:
    """Return a function from a number of output channels to the state dict of a seeded U2NETP."""
    kept: dict[int, State] = {}

    def state(channels: int = 1) -> State:
        if channels not in kept:
            torch.manual_seed(0)
            kept[channels] = U2NETP(out_channels=channels).state_dict()
        return dict(kept[channels])

    return state


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of eight synthetic scenes of 64×64 pixels."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, 8, seed=5, size=64)
    return folder
