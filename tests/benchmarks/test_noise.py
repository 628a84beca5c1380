"""A busy machine is reported; covers ``benchmarks/noise.py``."""

import subprocess
import sys
import time

import pytest

from u2net.benchmarks.noise import FOREIGN_LIMIT, SPREAD_LIMIT, Noise, NoiseMeter


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (Noise(0.5, 0.0), "the reference varied by 50% of its median"),
        (Noise(0.0, 0.4), "other processes took 40% of the processor"),
    ],
)
def test_noise_beyond_a_limit_forbids_quoting(noise: Noise, words: str) -> None:
    assert noise.warning.startswith("Do not quote these figures: ")
    assert words in noise.warning


@pytest.mark.parametrize("foreign", [FOREIGN_LIMIT, None])
def test_noise_within_the_limits_says_nothing(foreign: float | None) -> None:
    assert Noise(SPREAD_LIMIT, foreign).warning == ""


def test_the_spread_is_that_of_the_noisiest_batch_size() -> None:
    meter = NoiseMeter(1)
    meter.add_reference([1.0, 1.0, 1.0])
    meter.add_reference([1.0, 2.0, 3.0])

    assert meter.summarize().spread == pytest.approx(0.8)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the load of other processes")
def test_the_load_of_another_process_is_seen_and_that_of_this_one_is_not() -> None:
    meter = NoiseMeter(1)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        with meter.watching():
            time.sleep(1)
        other.kill()
    foreign = meter.summarize().foreign_load

    assert foreign is not None and foreign > 0.4
