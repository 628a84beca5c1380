from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from u2net.runtime.doctor import Finding

Command = Callable[..., CompletedProcess[str]]

STATES = ("works", "builds only", "not here", "does not work")

SUBJECTS = (
    "ONNX Runtime, CPU",
    "ONNX Runtime, CUDA",
    "TensorRT",
    "TensorRT-RTX",
    "extra [export]",
    "extra [train]",
)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_backend_and_extra_has_a_row(run_u2net: Command, subject: str) -> None:
    said = run_u2net("doctor")

    assert said.returncode == 0
    rows = [" ".join(line.split()) for line in said.stdout.splitlines()]
    (row,) = [row for row in rows if row.startswith(f"{subject} ")]
    assert row.removeprefix(f"{subject} ").startswith(STATES)


def test_what_works_here_works(run_u2net: Command) -> None:
    said = run_u2net("doctor").stdout

    for subject in ("ONNX Runtime, CPU", "extra "):
        rows = [line for line in said.splitlines() if line.strip().startswith(subject)]
        assert rows
        assert all(" works " in row for row in rows)


def test_a_machine_without_a_gpu_needs_no_remedy_for_cuda(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("u2net.runtime.doctor.count_cuda_devices", lambda: (0, "there is no NVIDIA driver"))

    rows = [" ".join(line.split()) for line in run_u2net("doctor").stdout.splitlines()]

    assert "ONNX Runtime, CUDA not here needs an NVIDIA GPU: there is no NVIDIA driver" in rows
    assert "ONNX Runtime, CUDA:" not in rows


def test_a_remedy_is_printed_as_it_is_typed(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("first [cpu]", "does not work", "gone [really]", "pip install 'u2net-deploy[cpu]'"),
        Finding("second", "works", "fine"),
    ]
    monkeypatch.setattr("u2net.runtime.doctor.examine", lambda: findings)

    lines = [" ".join(line.split()) for line in run_u2net("doctor").stdout.splitlines()]

    assert "first [cpu] does not work gone [really]" in lines
    assert "second works fine" in lines
    assert lines[-2:] == ["first [cpu]:", "pip install 'u2net-deploy[cpu]'"]
