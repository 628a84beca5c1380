import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from u2net.model.training import Phase, Recipe, find_recipe
from u2net.model.training.recipes import WARMUP_START
from u2net.runtime.device import CPU, CUDA, Device
from u2net.runtime.errors import InputError

RECIPE = Recipe(size=48, phases=(Phase(0.0, 32), Phase(0.5, 40)), batch=2, learning_rate=1e-3)


def test_the_recipe_of_the_authors() -> None:
    for device in (CPU, CUDA):
        assert find_recipe("authors", device) == Recipe(
            size=320,
            phases=(Phase(0.0, 288),),
            batch=12,
            learning_rate=1e-3,
        )


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Simulate what recipes check of a machine with a recent GPU, Triton and a C compiler."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _index: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda _index: nullcontext())
    monkeypatch.setattr("u2net.model.training.recipes.find_spec", lambda name: name)
    monkeypatch.setattr("shutil.which", lambda name: name)
    return monkeypatch


@pytest.mark.usefixtures("gpu")
def test_fast_on_a_gpu_is_compiled_and_in_bf16() -> None:
    recipe = find_recipe("fast", Device("cuda", 1))

    recipe.check()
    assert (recipe.precision, recipe.compiled, recipe.optimizer, recipe.annealed) == ("bf16-mixed", True, "adamw", True)
    assert recipe.ema is not None
    assert [phase.crop for phase in recipe.phases] == [288]


def test_an_old_gpu_gets_fp16_and_no_compiler(gpu: pytest.MonkeyPatch) -> None:
    gpu.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    gpu.setattr(torch.cuda, "get_device_capability", lambda _index: (6, 1))

    recipe = find_recipe("fast", CUDA)

    recipe.check()
    assert (recipe.precision, recipe.compiled) == ("16-mixed", False)


@pytest.mark.parametrize("missing", ["u2net.model.training.recipes.find_spec", "shutil.which"])
def test_what_torch_compile_needs_may_be_missing(gpu: pytest.MonkeyPatch, missing: str) -> None:
    gpu.setattr(missing, lambda _name: None)

    assert find_recipe("fast", CUDA).compiled is False
    assert find_recipe("fast", CUDA).with_overrides(compiled=True).compiled is True


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx2": True}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")],
)
def test_fast_on_a_processor_grows_and_takes_bf16_where_it_is_computed(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    recipe = find_recipe("fast", CPU)

    recipe.check()
    assert [(phase.crop, phase.frozen) for phase in recipe.phases] == [(128, 0), (192, 0), (288, 2), (288, 0)]
    assert (recipe.precision, recipe.compiled) == (precision, False)


def test_there_is_no_other_recipe() -> None:
    with pytest.raises(InputError, match="no recipe 'slow'; there are authors, fast"):
        find_recipe("slow", CPU)


@pytest.mark.parametrize(("progress", "crops", "side"), [(0.0, [32, 40], 38), (0.49, [32, 40], 38), (0.5, [40], 48)])
def test_pictures_shrink_in_proportion_to_the_crop_of_the_phase(progress: float, crops: list[int], side: int) -> None:
    assert [phase.crop for phase in RECIPE.phases_from(progress)] == crops
    assert RECIPE.side_of(crops[0]) == side


def test_the_rate_rises_then_falls_to_zero() -> None:
    annealed = replace(RECIPE, learning_rate=0.1, annealed=True, warmup=0.1)
    rates = [annealed.learning_rate_at(progress / 100) for progress in range(101)]

    assert (rates[0], rates[50]) == pytest.approx((WARMUP_START * 0.1, 0.05))
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert all(later > earlier for earlier, later in pairwise(rates[:11]))
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert {RECIPE.learning_rate_at(progress) for progress in (0.0, 0.3, 1.0)} == {RECIPE.learning_rate}


def test_overrides_replace_the_given_values() -> None:
    assert RECIPE.with_overrides() == RECIPE
    assert RECIPE.with_overrides(size=64, learning_rate=0.5) == replace(RECIPE, size=64, learning_rate=0.5)
    assert RECIPE.with_overrides(crop=36, batch=4) == replace(RECIPE, phases=(Phase(0.0, 36),), batch=4)
    assert RECIPE.with_overrides(precision="bf16-mixed").precision == "bf16-mixed"
    changed = RECIPE.with_overrides(augmentation="composed", optimizer="muon")
    assert changed == replace(RECIPE, augmentation="composed", optimizer="muon")
    assert RECIPE.with_overrides(frozen=2).phases == (Phase(0.0, 32, frozen=2), Phase(0.5, 40, frozen=2))
    assert RECIPE.with_overrides(crop=36, frozen=1).phases == (Phase(0.0, 36, frozen=1),)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"phases": (Phase(0.0, 31),)}, "crop 31 must be at least 32"),
        ({"phases": (Phase(0.0, 49),)}, "at most the size 48"),
        ({"phases": ()}, "begin at 0"),
        ({"phases": (Phase(0.1, 32),)}, "begin at 0"),
        ({"phases": (Phase(0.0, 32), Phase(0.0, 40))}, "rising order"),
        ({"batch": 1}, "at least 2 .* got 1"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"learning_rate": float("nan")}, "learning rate"),
        ({"phases": (Phase(0.0, 32, frozen=6),)}, "0 to 5 of the six stages"),
        ({"phases": (Phase(0.0, 32, frozen=-1),)}, "got -1"),
        ({"warmup": 1.0}, "warm-up"),
        ({"ema": 1.0}, "EMA"),
        ({"precision": "fp8"}, "precision is 'fp8', not one of"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', not one of"),
        ({"augmentation": "mixup"}, "augmentation is 'mixup', not one of"),
        ({"weight_decay": -1.0}, "weight decay is at least 0"),
        ({"phases": (Phase(0.0, 32), Phase(math.nan, 32))}, "in rising order below 1"),
        ({"phases": (Phase(0.0, 32), Phase(1.0, 32))}, "in rising order below 1"),
        ({"batch": 4.5}, "batch is 4.5, not int"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(change: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=found):
        replace(RECIPE, **change).check()
