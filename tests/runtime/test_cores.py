import os
from pathlib import Path

import pytest

from u2net.runtime import cores
from u2net.runtime.cores import limited_cores, usable_cores
from u2net.runtime.device import CPU
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.openvino_backend import OpenVinoBackend

V1 = {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of eight cores, of which this process may use three."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 3, 5}, raising=False)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)


def test_cores_are_those_the_process_may_use() -> None:
    assert usable_cores() == limited_cores() == 3


@pytest.mark.parametrize(
    ("files", "number"),
    [
        ({"cpu.max": "max 100000\n"}, 3),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 3),
        ({"cpu.max": "nonsense"}, 3),
        (V1, 2),
        (V1 | {"cpu/cpu.cfs_quota_us": "-1"}, 3),
    ],
)
def test_a_container_s_quota_counts(tmp_path: Path, files: dict[str, str], number: int) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert usable_cores() == number


@pytest.mark.parametrize(("count", "number"), [(6, 6), (None, 1)])
def test_where_the_system_does_not_tell_it_is_all(
    monkeypatch: pytest.MonkeyPatch, count: int | None, number: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)

    assert (usable_cores(), limited_cores()) == (number, None)


@pytest.mark.parametrize(("threads", "taken"), [(None, 1), (2, 2)])
def test_backends_take_no_more_threads(small_onnx: Path, tmp_path: Path, threads: int | None, taken: int) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")

    onnxruntime = OnnxRuntimeBackend(small_onnx, CPU, threads=threads)
    openvino = OpenVinoBackend(small_onnx, CPU, threads=threads)

    assert onnxruntime._session.get_session_options().intra_op_num_threads == taken
    assert openvino._compiled.get_property("INFERENCE_NUM_THREADS") == taken
