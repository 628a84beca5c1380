from dataclasses import replace
from itertools import pairwise

import pytest

from tests.model.training.conftest import RECIPE
from u2net.model.training.schedule import FIRST, Budget, learning_rate

ANNEALED = replace(RECIPE, learning_rate=0.1, annealed=True, warmup=0.1)


@pytest.mark.parametrize(
    ("budget", "progress"),
    [
        (Budget(steps=10, seconds=None), 0.4),
        (Budget(steps=None, seconds=60), 0.5),
        (Budget(steps=10, seconds=60), 0.5),
        (Budget(steps=5, seconds=60), 0.8),
        (Budget(steps=3, seconds=60), 1.0),
    ],
)
def test_what_is_used_up_first_counts(budget: Budget, progress: float) -> None:
    assert budget.progress(4, 30) == pytest.approx(progress)


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(ANNEALED, progress / 100) for progress in range(101)]

    assert rates[0] == pytest.approx(FIRST * 0.1)
    assert all(later > earlier for earlier, later in pairwise(rates[:11]))
    assert max(rates) == pytest.approx(rates[10])
    assert rates[50] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_without_annealing_and_warm_up_it_is_constant() -> None:
    assert {learning_rate(RECIPE, progress) for progress in (0.0, 0.3, 1.0)} == {RECIPE.learning_rate}
