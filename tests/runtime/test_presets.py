import json
from dataclasses import replace
from typing import Any

import pytest

from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS, Preset, find_preset

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

# size, kernel, depth, divisor, (mean, std), stretch, invert, mask kernel
DOCUMENTED: dict[str, tuple[Any, ...]] = {
    "reference": (320, "bilinear", "float", "max", IMAGENET, True, False, "bilinear"),
    "rembg": (320, "lanczos", "uint8", "max", IMAGENET, True, False, "lanczos"),
    "cloth": (768, "bicubic", "uint8", "255", HALF, False, False, "bicubic"),
    "portrait": (512, "bilinear", "float", "max", IMAGENET, True, True, "bilinear"),
    "raw": (320, "bilinear", "float", "255", PLAIN, False, False, "bilinear"),
}


def test_there_are_the_documented_presets() -> None:
    assert set(PRESETS) == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_preset_has_the_documented_numbers(name: str) -> None:
    size, kernel, depth, divisor, (mean, std), stretch, invert, mask_kernel = DOCUMENTED[name]

    assert find_preset(name) == Preset(
        name=name,
        height=size,
        width=size,
        kernel=kernel,
        depth=depth,
        divisor=divisor,
        mean=mean,
        std=std,
        stretch=stretch,
        invert=invert,
        mask_kernel=mask_kernel,
        stretch_floor=1 / 255,
        divisor_floor=1e-6,
    )


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_preset_survives_json(name: str) -> None:
    preset = PRESETS[name].with_size(96, 160)

    assert Preset.from_dict(json.loads(json.dumps(preset.as_dict()))) == preset


def test_with_size_changes_the_size_alone() -> None:
    preset = PRESETS["rembg"].with_size(64, 96)

    assert (preset.height, preset.width) == (64, 96)
    assert preset.with_size(320, 320) == PRESETS["rembg"]


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match="'rembgg'") as caught:
        find_preset("rembgg")
    assert all(name in str(caught.value) for name in DOCUMENTED)


SAYS = {"height": "size", "width": "size"}
"""What the message calls a field, where not by its name."""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kernel", "nearest"),
        ("mask_kernel", "area"),
        ("depth", "uint16"),
        ("divisor", "mean"),
        ("mean", (0.5, 0.5)),
        ("std", (0.5, 0.5, 0.5, 0.5)),
        ("std", (0.5, 0.0, 0.5)),
        ("std", (0.5, -1.0, 0.5)),
        ("std", (0.5, float("nan"), 0.5)),
        ("height", 0),
        ("width", -320),
        ("mean", (0.5, float("nan"), 0.5)),
        ("mean", (float("inf"), 0.5, 0.5)),
        ("divisor_floor", 0.0),
        ("divisor_floor", -1.0),
        ("stretch_floor", -0.1),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(field: str, value: object) -> None:
    values = PRESETS["reference"].as_dict() | {field: value}

    with pytest.raises(InputError, match=SAYS.get(field, field)):
        Preset.from_dict(values)


@pytest.mark.parametrize(
    ("field", "value"), [("mean", None), ("std", "abc"), ("height", "320"), ("kernel", ["lanczos"])]
)
def test_a_value_of_the_wrong_kind_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError):
        Preset.from_dict(PRESETS["reference"].as_dict() | {field: value})


def test_a_missing_field_is_named() -> None:
    values = PRESETS["reference"].as_dict()
    del values["divisor_floor"]

    with pytest.raises(InputError, match=r"differ: \['divisor_floor'\]"):
        Preset.from_dict(values)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InputError, match=r"differ: \['gamma'\]"):
        Preset.from_dict(PRESETS["reference"].as_dict() | {"gamma": 2.2})


def test_check_takes_what_is_documented() -> None:
    for preset in PRESETS.values():
        preset.check()


def test_check_refuses_a_preset_built_by_hand() -> None:
    with pytest.raises(InputError, match="std"):
        replace(PRESETS["raw"], std=(0.0, 1.0, 1.0)).check()
