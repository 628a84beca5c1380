"""The documents give the scores that ``u2net eval`` wrote for the bundled weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from u2net.export.accuracy import METRICS
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.files import hash_file

ROOT = Path(__file__).parents[2]
WEIGHTS = "model/weights/u2netp.safetensors"
MODELS = {"these weights": WEIGHTS, "at 192×192": "u2netp-192.onnx", "centred Gaussian": "centred Gaussian"}


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    """Return the file that ``u2net eval --json`` wrote."""
    found: dict[str, Any] = json.loads((ROOT / "docs/results/duts-te-1000.json").read_text(encoding="utf-8"))
    return found


def test_the_bundled_weights_are_the_ones_that_were_scored(evaluation: dict[str, Any]) -> None:
    assert evaluation["sha256"][WEIGHTS] == hash_file(BUNDLED_WEIGHTS)
    assert {each["pictures"] for each in evaluation["scores"].values()} == {1000}


@pytest.mark.parametrize("page", ["docs/MODEL_CARD.md", "model/weights/README.md"])
@pytest.mark.parametrize("label", MODELS)
def test_the_scores_on_a_page_are_those(evaluation: dict[str, Any], page: str, label: str) -> None:
    scores = evaluation["scores"][MODELS[label]]
    wanted = [f"{scores[name]:.3f}".removeprefix("0") for name in METRICS]

    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()

    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith(f"| {label}")]
    assert [row[1:] for row in rows] == [wanted]


def test_the_cost_of_deployment_starts_from_those(evaluation: dict[str, Any]) -> None:
    page = (ROOT / "docs/results/duts-te-1000.md").read_text(encoding="utf-8")

    scores = evaluation["scores"][WEIGHTS]
    for name, title in METRICS.items():
        assert f"| {title} | {scores[name]:.4f} |" in page
