"""What ``make gpu-check`` is asked to do."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from u2net.runtime.artifact import STEP
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError

NETWORKS = ("u2netp", "u2net")


@dataclass(frozen=True)
class GpuOptions:
    """What to measure, on what, for how long.

    Attributes:
        device: ``cuda``, ``cuda:N``, or ``cpu`` for a dry run of everything that a processor can run.
        networks: out of ``u2netp`` and ``u2net``.
        batches: batch sizes; an engine gets a profile for each.
        size: side of the square input in pixels, a multiple of 32.
        contestants: keys of those to measure; none of them is all.
        rounds: turns that each contestant gets at most, for wall and for device time.
        minutes: limit of everything but the tests and the training.
        open_minutes: limit of opening one contestant: loading, compiling, first runs.
        build_minutes: limit of building one engine.
        train_minutes: how long to train a network that there are no weights for; 0 leaves it untrained.
        checkpoints: weights to take instead of the bundled or trained ones; each file tells its own network.
        images: folder of photographs; None takes those of scikit-image, or else synthetic scenes.
        tensorrt_python: another Python that has TensorRT; None looks in this one alone.
        opt_level: of TensorRT's builder, 0 to 5; None takes its default.
        tests: whether to run the tests marked ``gpu``.
        test_minutes: limit of the tests, in each Python.
        work: folder of what is made on the way; what is in it from before is used again.
        output: folder of the report.
        name: of the report's files; None makes one out of the GPU and the date.
    """

    device: str = "cuda:0"
    networks: tuple[str, ...] = NETWORKS
    batches: tuple[int, ...] = (1, 8, 32)
    size: int = 320
    contestants: tuple[str, ...] = ()
    rounds: int = 60
    minutes: float = 20.0
    open_minutes: float = 4.0
    build_minutes: float = 6.0
    train_minutes: float = 0.0
    checkpoints: tuple[Path, ...] = ()
    images: Path | None = None
    tensorrt_python: str | None = None
    opt_level: int | None = None
    tests: bool = True
    test_minutes: float = 5.0
    work: Path = Path("build/gpu-check")
    output: Path = Path("docs/results")
    name: str | None = None

    def check(self) -> None:
        """Raise InputError where a value could not be used."""
        Device.parse(self.device)
        unknown = [network for network in self.networks if network not in NETWORKS]
        if unknown or not self.networks or len(set(self.networks)) < len(self.networks):
            raise InputError(f"networks are distinct names of {', '.join(NETWORKS)}; got {', '.join(self.networks)}")
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise InputError(f"batch sizes are distinct and at least 1; got {self.batches}")
        if self.size < STEP or self.size % STEP:
            raise InputError(f"the size is a multiple of {STEP}; got {self.size}")
        if self.rounds < 2:
            raise InputError(f"a measurement takes at least 2 rounds; got {self.rounds}")
        limits = (self.minutes, self.open_minutes, self.build_minutes, self.test_minutes)
        if not all(limit > 0 for limit in limits) or not self.train_minutes >= 0:
            raise InputError(f"limits in minutes are above 0; got {limits}, and {self.train_minutes} for training")
        missing = [path for path in self.checkpoints if not path.is_file()]
        if missing:
            raise InputError(f"{missing[0]}: there is no such file")
        self.find_python()

    def find_python(self) -> str:
        """The interpreter that engines run in, by its whole path.

        Raises:
            InputError: it is not there.
        """
        if self.tensorrt_python is None:
            return sys.executable
        found = shutil.which(self.tensorrt_python)
        if found is None:
            raise InputError(f"{self.tensorrt_python}: there is no such program")
        return str(Path(found).absolute())

    @property
    def on_gpu(self) -> bool:
        """Whether it is more than a dry run."""
        return Device.parse(self.device).kind == "cuda"
