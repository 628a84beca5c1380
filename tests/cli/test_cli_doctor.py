"""Covers cli/doctor.py."""

import re
from importlib.metadata import requires

import pytest

from tests.cli.conftest import Command
from u2net.runtime.doctor import TOOLS, Finding
from u2net.runtime.errors import DriverMissingError
from u2net.runtime.trt.cuda import Cuda

SUBJECTS = ("ONNX Runtime, CPU", "ONNX Runtime, CUDA", "TensorRT", "TensorRT-RTX", "extra [export]", "extra [train]")
STATES = ("works", "builds only", "not here", "does not work")


def rows(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


def test_every_backend_and_extra_has_a_row_and_what_is_installed_works(run_u2net: Command) -> None:
    said = run_u2net("doctor")

    assert said.returncode == 0
    for subject in SUBJECTS:
        (row,) = [row for row in rows(said.stdout) if row.startswith(tuple(f"{subject} {state} " for state in STATES))]
        assert row.startswith(f"{subject} works ") or subject not in ("ONNX Runtime, CPU", *SUBJECTS[-2:])


@pytest.mark.parametrize("extra", TOOLS)
def test_an_extra_that_works_has_all_its_packages(extra: str) -> None:
    required = [text.partition(";") for text in requires("u2net-deploy") or []]
    names = {re.split(r"[><=\[ ]", name)[0] for name, _, marker in required if f'"{extra}"' in marker}

    assert names - {"torch", "rich"} <= {*TOOLS[extra], *TOOLS["export"]}


def test_a_missing_gpu_is_described_and_has_no_remedy(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_cuda: Cuda) -> None:
        raise DriverMissingError("there is no NVIDIA driver")

    monkeypatch.setattr(Cuda, "require_driver", fail)

    said = run_u2net("doctor").stdout

    assert "ONNX Runtime, CUDA not here needs an NVIDIA GPU: there is no NVIDIA driver" in rows(said)
    assert "ONNX Runtime, CUDA:" not in rows(said)
    assert "--device cpu" not in said


def test_the_longest_findings_fit_80_columns_without_broken_words(
    run_u2net: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'u2net-deploy[gpu]'"
    details = {
        "ONNX Runtime, CUDA": "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
        "TensorRT-RTX": "tensorrt-rtx 1.7.1.116; NVIDIA RTX PRO 6000 Blackwell (compute capability 12.0)",
        "extra [train]": "missing: lightning-fabric, kornia, pysodmetrics",
    }
    findings = [Finding(subject, "does not work", detail, twins) for subject, detail in details.items()]
    monkeypatch.setattr("u2net.runtime.doctor.examine", lambda: findings)
    monkeypatch.setattr("u2net.cli.printing.console._width", 80)
    monkeypatch.setattr("u2net.cli.printing.console._force_terminal", True)

    said = run_u2net("doctor").stdout

    assert max(map(len, said.splitlines())) <= 80
    for word in f"{' '.join(details)} {' '.join(details.values())} does not work".split():
        assert word in said.split()


def test_a_remedy_is_printed_as_it_is_typed(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("first [cpu]", "not here", "gone [really]", "pip install 'u2net-deploy[cpu]'"),
        Finding("second", "works", "fine"),
    ]
    monkeypatch.setattr("u2net.runtime.doctor.examine", lambda: findings)

    lines = rows(run_u2net("doctor").stdout)

    assert "first [cpu] not here gone [really]" in lines
    assert "second works fine" in lines
    assert lines[-2:] == ["To get first [cpu]:", "pip install 'u2net-deploy[cpu]'"]
