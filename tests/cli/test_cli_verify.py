import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Command
from u2net.export.parity import StageParity, VerifyOptions
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import Device
from u2net.runtime.presets import PRESETS


@pytest.fixture(scope="module")
def other_onnx(built_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graph with other weights: each is off by up to a tenth."""
    model, rng = onnx.load(built_onnx), np.random.default_rng(0)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.ndim == 4:
            noisy = values * rng.uniform(0.9, 1.1, values.shape).astype(values.dtype)
            weights.CopyFrom(numpy_helper.from_array(noisy, weights.name))
    path = tmp_path_factory.mktemp("other") / "other.onnx"
    onnx.save(model, path)
    return path


def test_a_file_is_judged_in_the_backend_that_was_named(run_u2net: Command, built_onnx: Path, pictures: Path) -> None:
    said = run_u2net("verify", built_onnx, built_onnx, "--images", pictures, "--backend", "openvino")

    assert said.returncode == 0, said.stderr
    assert {line.split()[0] for line in said.stderr.splitlines()} <= {"comparing"}
    assert not re.search(r"\b0\.0e\+00\b.*\b0\.0e\+00\b", said.stdout), "two programs never agree in every bit"


def test_what_is_equal_passes(run_u2net: Command, built_onnx: Path, pictures: Path, tmp_path: Path) -> None:
    half = built_onnx.with_name("model.fp16.onnx")

    figures = tmp_path / "figures.json"

    said = run_u2net("verify", BUNDLED_WEIGHTS, built_onnx, half, "--images", pictures, "--json", figures)

    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == "passed"
    assert [each["precision"] for each in json.loads(figures.read_text(encoding="utf-8"))] == ["fp32", "fp16"]
    words = " ".join(said.stdout.split())
    assert f"{built_onnx} (fp32) against {BUNDLED_WEIGHTS} " in words
    assert f"{half} (fp16) against {BUNDLED_WEIGHTS} " in words
    assert words.count(" Limits: probabilities ") == 2
    assert "FAILED" not in said.stdout


def test_other_weights_fail_and_the_failure_names_file_output_figure_and_image(
    run_u2net: Command, built_onnx: Path, other_onnx: Path, pictures: Path
) -> None:
    refused = run_u2net("verify", built_onnx, built_onnx, other_onnx, "--images", pictures)

    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1] == "FAILED"
    for output in ("d0", "mask"):
        ((difference, image),) = re.findall(
            rf"^FAILED .*other\.onnx: {output}: largest difference is (\S+) on (.+), the limit \S+$",
            refused.stdout,
            re.MULTILINE,
        )
        assert float(difference) > 1e-3
        assert image in ("astronaut.png", "coffee.png", "black", "white", "noise", "tiny contrast", "one lit pixel")
    assert f"FAILED {built_onnx}" not in refused.stdout
    assert " ".join(refused.stdout.split()).count(" against ") == 2, "a title as long as these paths is wrapped"


def test_options_reach_the_gate(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def gate(
        reference: Path, candidates: list[Path], options: VerifyOptions, _progress: object
    ) -> tuple[StageParity, ...]:
        asked.extend((reference, candidates, options))
        return ()

    monkeypatch.setattr("u2net.export.parity.verify_models", gate)

    said = run_u2net("verify", "a", "b", "c", "--images", "d", "--preset", "rembg", "--device", "cuda:1")

    assert said.returncode == 0
    assert asked == [Path("a"), [Path("b"), Path("c")], VerifyOptions(Path("d"), PRESETS["rembg"], Device("cuda", 1))]
