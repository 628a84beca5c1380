import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from u2net.runtime.errors import InputError
from u2net.runtime.presets import PRESETS, Preset, find_preset


def test_the_documented_presets_exist_and_can_be_used() -> None:
    assert set(PRESETS) == {"reference", "rembg", "cloth", "portrait", "raw"}
    for preset in PRESETS.values():
        preset.check()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str) -> None:
    preset = PRESETS[name].with_size(96, 160)

    assert Preset.from_dict(json.loads(json.dumps(asdict(preset)))) == preset


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match="'rembgg'") as caught:
        find_preset("rembgg")
    assert all(name in str(caught.value) for name in PRESETS)


SAYS = {"height": "size", "width": "size"}
"""Names of fields in messages, if they differ."""


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
        ("mean", None),
        ("std", "abc"),
        ("kernel", ["lanczos"]),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(field: str, value: object) -> None:
    values = asdict(PRESETS["reference"]) | {field: value}

    with pytest.raises(InputError, match=SAYS.get(field, field)):
        Preset.from_dict(values)


def test_missing_and_unknown_fields_are_named() -> None:
    values = asdict(PRESETS["reference"]) | {"gamma": 2.2}
    del values["divisor_floor"]

    with pytest.raises(InputError, match=r"differ: \['divisor_floor', 'gamma'\]"):
        Preset.from_dict(values)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("std", (0.0, 1.0, 1.0), "std above 0"),
        ("mean", [0.5, 0.5, 0.5], r"mean is \[0.5, 0.5, 0.5\], not tuple\[float, float, float\]"),
        ("height", "320", "'mine' cannot be used: height is '320', not int"),
        ("kernel", "nearest", r"kernel is 'nearest', not one of \('bilinear', 'bicubic', 'lanczos'\)"),
    ],
)
def test_check_says_what_is_wrong_with_a_preset_made_by_hand(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PRESETS["raw"], **{"name": "mine", field: value}).check()
