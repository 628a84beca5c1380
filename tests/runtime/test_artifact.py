"""Tests of runtime/artifact.py and runtime/kinds.py."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from u2net.runtime.artifact import Agreement, Artifact, InputShape, LayerLoss, Quantization
from u2net.runtime.errors import ArtifactError, InputError
from u2net.runtime.presets import PRESETS

ARTIFACT = Artifact(
    variant="u2netp",
    checkpoint_sha256="ab" * 32,
    preset=PRESETS["rembg"],
    precision="fp16",
    shape=InputShape(None, 320, 480),
    outputs=("d0", "d3"),
    classes=1,
    opset=18,
    fp32_nodes=("stage1.rebnconvin.conv_s1",),
    versions={"torch": "2.8.0"},
)
VALID = range(32, 2049, 32)


def values() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ARTIFACT.to_json())
    return content


@pytest.mark.parametrize("shape", [InputShape(None, 320, 480), InputShape(4, 37, 53), InputShape(1, None, None)])
def test_metadata_survives_json(shape: InputShape) -> None:
    made = Quantization("cpu", "minmax", 100, 99, Agreement(0.99, 0.95, 1e-3), (LayerLoss("side1", 1e-4),))
    artifact = replace(ARTIFACT, shape=shape, quantization=made if shape.batch else None)

    assert Artifact.from_json(artifact.to_json()) == artifact


@pytest.mark.parametrize(("classes", "activation"), [(1, "sigmoid"), (4, "softmax")])
def test_metadata_says_what_the_outputs_are(classes: int, activation: str) -> None:
    meaning = json.loads(replace(ARTIFACT, classes=classes).to_json())["meaning"]

    assert activation in meaning["outputs"]
    assert f"N×{classes}×H×W" in meaning["outputs"]


@pytest.mark.parametrize(
    ("shape", "rule"),
    [(InputShape(1, None, None), "multiples of 32 from 32 to 2048"), (InputShape(None, 320, 320), "fixed")],
)
def test_metadata_names_the_valid_sizes(shape: InputShape, rule: str) -> None:
    assert json.loads(replace(ARTIFACT, shape=shape).to_json())["meaning"]["size"] == rule


@pytest.mark.parametrize("field", sorted(set(values()) - {"versions", "quantization", "image"}))
def test_a_missing_field_is_damage(field: str) -> None:
    content = values()
    del content[field]

    with pytest.raises(ArtifactError):
        Artifact.from_json(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        {"stranger": 1},
        {"outputs": None},
        {"shape": {"batch": 1}},
        {"shape": {"batch": 1, "height": 2, "width": 3, "depth": 4}},
        {"shape": None},
        {"preset": None},
        {"fp32_nodes": 5},
        {"fp32_nodes": [1]},
        {"outputs": [1, 2]},
        {"precision": "fp64"},
        {"shape": {"batch": "one", "height": 320, "width": 320}},
        {"variant": 3},
    ],
)
def test_a_changed_field_is_damage(change: dict[str, object]) -> None:
    with pytest.raises(ArtifactError):
        Artifact.from_json(json.dumps(values() | change))


@pytest.mark.parametrize("change", [{"kernel": "nearest"}, {"std": [0, 0, 0]}, {"gamma": 2}])
def test_an_unusable_preset_is_blamed(change: dict[str, object]) -> None:
    content = values()
    content["preset"] |= change

    with pytest.raises(ArtifactError, match="preset cannot be used") as caught:
        Artifact.from_json(json.dumps(content))
    assert next(iter(change)) in str(caught.value)


@pytest.mark.parametrize("schema", [0, 2, "1"])
def test_another_schema_is_named(schema: object) -> None:
    with pytest.raises(ArtifactError, match=f"schema {schema}; this version reads 1"):
        Artifact.from_json(json.dumps(values() | {"schema": schema}))


@settings(max_examples=100, deadline=None)
@given(side=st.integers(-100, 5000))
@example(side=32)
@example(side=2048)
@example(side=2080)
def test_a_dynamic_side_is_valid_or_the_two_nearest_are_named(side: int) -> None:
    shape = InputShape(None, None, None)
    if side in VALID:
        shape.check_size(side, side)
        return
    with pytest.raises(InputError) as caught:
        shape.check_size(320, side)
    named = [int(number) for number in re.findall(r"\d+", str(caught.value).split("nearest are")[1])]
    assert named == sorted(sorted(VALID, key=lambda valid: abs(valid - side))[:2])
