from dataclasses import asdict, replace
from typing import Any

import pytest

from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS, Preset, find_preset


def test_the_documented_presets_exist_and_can_be_used() -> None:
    assert set(PRESETS) == {"reference", "rembg", "cloth", "portrait", "raw"}
    for preset in PRESETS.values():
        preset.check()


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match="'rembgg'") as caught:
        find_preset("rembgg")
    assert all(name in str(caught.value) for name in PRESETS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kernel", "nearest", r"kernel is 'nearest', not one of \('bilinear', 'bicubic', 'lanczos'\)"),
        ("kernel", ["lanczos"], "kernel"),
        ("mask_kernel", "area", "mask_kernel"),
        ("depth", "uint16", "depth"),
        ("divisor", "mean", "divisor"),
        ("mean", None, "mean"),
        ("mean", (0.5, 0.5), "mean"),
        ("mean", [0.5, 0.5, 0.5], r"mean is \[0.5, 0.5, 0.5\], not tuple\[float, float, float\]"),
        ("mean", (0.5, float("nan"), 0.5), "mean"),
        ("mean", (float("inf"), 0.5, 0.5), "mean"),
        ("std", "abc", "std"),
        ("std", (0.5, 0.5, 0.5, 0.5), "std"),
        ("std", (0.5, 0.0, 0.5), "std above 0"),
        ("std", (0.5, -1.0, 0.5), "std above 0"),
        ("std", (0.5, float("nan"), 0.5), "std above 0"),
        ("height", "320", "'mine' cannot be used: height is '320', not int"),
        ("height", 0, "size"),
        ("width", -320, "size"),
        ("divisor_floor", 0.0, "divisor_floor"),
        ("divisor_floor", -1.0, "divisor_floor"),
        ("stretch_floor", -0.1, "stretch_floor"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PRESETS["reference"], **{"name": "mine", field: value}).check()


def test_missing_and_unknown_fields_are_named() -> None:
    values = asdict(PRESETS["reference"]) | {"gamma": 2.2}
    del values["divisor_floor"]

    with pytest.raises(InputError, match=r"differ: \['divisor_floor', 'gamma'\]"):
        Preset.from_dict(values)
