from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from u2net.runtime.doctor import Finding

Command = Callable[..., CompletedProcess[str]]

SUBJECTS = (
    "ONNX Runtime, CPU",
    "ONNX Runtime, CUDA",
    "one ONNX Runtime",
    "TensorRT",
    "TensorRT-RTX",
    "extra [export]",
    "extra [train]",
)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_backend_and_extra_has_a_row(run_u2net: Command, subject: str) -> None:
    said = run_u2net("doctor")

    assert said.returncode == 0
    (row,) = [line for line in said.stdout.splitlines() if line.strip().startswith(f"{subject} ") and "work" in line]
    assert row.strip() != subject


def test_what_works_here_works(run_u2net: Command) -> None:
    said = run_u2net("doctor").stdout

    for subject in ("ONNX Runtime, CPU", "extra "):
        rows = [line for line in said.splitlines() if line.strip().startswith(subject)]
        assert rows
        assert not [row for row in rows if "does not work" in row]


def test_what_does_not_work_has_a_remedy(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("u2net.runtime.doctor.count_cuda_devices", lambda: (0, "there is no NVIDIA driver"))

    said = run_u2net("doctor").stdout

    rows = [" ".join(line.split()) for line in said.splitlines() if "does not work" in line]
    assert rows[0] == "ONNX Runtime, CUDA does not work there is no NVIDIA driver"
    for row in rows:
        subject = row.partition(" does not work")[0]
        assert f"\n{subject}: " in said
    assert "\nONNX Runtime, CUDA: none without a GPU: use --device cpu" in said


def test_a_remedy_is_printed_as_it_is_typed(run_u2net: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("first [cpu]", False, "gone [really]", "pip install 'u2net-deploy[cpu]'"),
        Finding("second", True, "fine"),
    ]
    monkeypatch.setattr("u2net.runtime.doctor.examine", lambda: findings)

    lines = [" ".join(line.split()) for line in run_u2net("doctor").stdout.splitlines()]

    assert "first [cpu] does not work gone [really]" in lines
    assert "second works fine" in lines
    assert lines[-1] == "first [cpu]: pip install 'u2net-deploy[cpu]'"
