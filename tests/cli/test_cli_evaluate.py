import json
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Command
from tests.scenes import write_scenes
from u2net.export.accuracy import METRICS
from u2net.export.parity.sessions import open_for_parity
from u2net.model.dataset import find_pairs
from u2net.model.evaluation import score_sessions
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import CPU
from u2net.runtime.files import hash_file
from u2net.runtime.presets import PRESETS


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Three scenes with their masks."""
    write_scenes(tmp_path / "scenes", 3, seed=1, size=64)
    return tmp_path / "scenes"


def test_models_are_scored_beside_a_guess(run_u2net: Command, scenes: Path, built_onnx: Path, tmp_path: Path) -> None:
    said = run_u2net(
        *("eval", BUNDLED_WEIGHTS, scenes, built_onnx, "--json", tmp_path / "s.json", "--sheet", tmp_path / "w.png")
    )

    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[-2:] == [f"Wrote {tmp_path / name}" for name in ("s.json", "w.png")]
    assert any(
        line.split() == ["metric", BUNDLED_WEIGHTS.name, built_onnx.name, "centred", "Gaussian"] for line in lines
    )
    for title in METRICS.values():
        assert sum(line.strip().startswith(f"{title} ") for line in lines) == 1
    written = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    scores = written["scores"]
    assert written["dataset"] == "scenes"
    assert written["sha256"] == {str(path): hash_file(path) for path in (BUNDLED_WEIGHTS, built_onnx)}
    assert set(scores) == {str(BUNDLED_WEIGHTS), str(built_onnx), "centred Gaussian"}
    assert all(each["pictures"] == 3 and 0 <= each["mae"] <= 1 for each in scores.values())
    for ranking in written["worst"].values():
        assert set(ranking) == {path.name for path in (scenes / "images").iterdir()}
        assert list(ranking.values()) == sorted(ranking.values(), reverse=True)
        assert len(set(ranking.values())) == 3
    assert Image.open(tmp_path / "w.png").width == 600


def test_fp16_is_scored_on_the_copy_that_rounds_with_the_preset_asked_for(
    run_u2net: Command, scenes: Path, built_onnx: Path, tmp_path: Path
) -> None:
    half = built_onnx.with_name("model.fp16.onnx")
    with open_for_parity(half, CPU, preset=PRESETS["rembg"].with_size(96, 96)) as session:
        (expected,) = score_sessions([session], find_pairs(scenes))

    run_u2net("eval", half, scenes, "--preset", "rembg", "--json", tmp_path / "s.json")

    scores = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["scores"][str(half)]
    assert scores == asdict(expected.scores)
