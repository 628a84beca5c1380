"""``model.engine.json``: it comes back as written, a damaged one is refused, and files are whole or not there."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.trt.conftest import ARTIFACT, WriteEngine, record_of
from tests.runtime.trt.fake_tensorrt import FakeTensorRT
from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.errors import (
    ArtifactError,
    EngineDamagedError,
    EngineGpuError,
    EngineVersionError,
    InputError,
    U2NetError,
)
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.building.plan import build_plan
from u2net.runtime.trt.profiles import Profile, Span
from u2net.runtime.trt.record import EngineRecord, read_record, record_path, write_engine

spans = st.lists(st.integers(1, 4096), min_size=3, max_size=3).map(lambda values: Span(*sorted(values)))
artifacts = st.builds(
    Artifact,
    preset=st.sampled_from(list(PRESETS.values())),
    shape=st.builds(InputShape, *[st.none() | st.integers(1, 2048)] * 3),
)
records = st.builds(
    EngineRecord,
    profiles=st.lists(st.builds(Profile, spans, spans, spans)).map(tuple),
    seconds=st.floats(allow_nan=False, allow_infinity=False),
    artifact=st.none() | artifacts,
)


@given(records)
def test_a_record_comes_back_as_it_was(record: EngineRecord) -> None:
    assert EngineRecord.from_json(record.to_json()) == record


@given(records, st.data())
def test_a_record_that_somebody_changed_is_refused_or_usable(record: EngineRecord, data: st.DataObject) -> None:
    """Any value in any place: one of the errors of this package, or a record that can be held against a plan."""
    values = json.loads(record.to_json())
    name = data.draw(st.sampled_from(sorted(values)))
    values[name] = data.draw(
        st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.none())
    )
    try:
        changed = EngineRecord.from_json(json.dumps(values))
        changed.check_here("10.0", "8.6", "GPU")
        changed.check_plan(b"", Path("model.engine"))
    except U2NetError:
        return
    assert (changed.version, changed.plan_bytes) == ("10.0", 0)


@pytest.mark.parametrize("name", [field.name for field in fields(EngineRecord)])
def test_a_value_of_the_wrong_kind_is_refused(trt: FakeTensorRT, write_engine: WriteEngine, name: str) -> None:
    path = record_path(write_engine(trt))
    values = json.loads(path.read_text())
    values[name] = {"odd": [1]}
    with pytest.raises(ArtifactError, match="damaged"):
        EngineRecord.from_json(json.dumps(values))

    del values[name]
    with pytest.raises(ArtifactError, match=rf"damaged .*{name}.*compile the engine again"):
        EngineRecord.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _text: "", "damaged"),
        (lambda text: text[:-20], "damaged"),
        (lambda _text: "[]", "damaged"),
        (lambda _text: "null", "damaged"),
        (lambda _text: '"schema"', "damaged"),
        (lambda _text: "{}", "damaged"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2; this version reads 1"),
        (lambda text: text.replace('"tensorrt"', '"tensorflow"'), "no flavour 'tensorflow'"),
        (lambda text: text.replace('"low": 1', '"low": 9'), "MIN"),
        (lambda text: text.replace('"plan_bytes"', '"plan_weight"'), "plan_weight"),
    ],
)
def test_a_damaged_record_is_refused(
    trt: FakeTensorRT, write_engine: WriteEngine, change: Callable[[str], str], says: str
) -> None:
    path = write_engine(trt)
    before = record_path(path).read_text()
    record_path(path).write_text(change(before))
    assert record_path(path).read_text() != before

    with pytest.raises(ArtifactError, match=says):
        read_record(path)


def test_a_record_that_is_no_text_is_refused(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    record_path(path).write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ArtifactError, match=r"model\.engine\.json cannot be read"):
        read_record(path)


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "model.engine") is None


@pytest.fixture
def record(trt: FakeTensorRT, write_engine: WriteEngine) -> EngineRecord:
    found = read_record(write_engine(trt))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("changes", "here", "kind", "says"),
    [
        ({}, ("10.17", "8.6"), EngineVersionError, r"built by tensorrt 10\.16\.0\.72, here is 10\.17; .*rebuild=True"),
        (
            {},
            ("10.16.0.72", "8.9"),
            EngineGpuError,
            r"Fake GPU \(compute capability 8\.6\), here is New \(8\.9\).*rebuild",
        ),
        (
            {"targets": ("sm_75", "sm_89")},
            ("10.16.0.72", "8.6"),
            EngineGpuError,
            r"sm_75, sm_89, here is New \(sm_86\)",
        ),
        (
            {"targets": ("sm_120",), "compute_capability": None},
            ("10.16.0.72", "12.1"),
            EngineGpuError,
            "--target sm_121",
        ),
    ],
)
def test_an_engine_of_elsewhere_is_refused(
    record: EngineRecord, changes: dict[str, Any], here: tuple[str, str], kind: type[ArtifactError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        replace(record, **changes).check_here(*here, "New")


def test_an_engine_of_here_is_taken(record: EngineRecord) -> None:
    record.check_here("10.16.0.72", "8.6", "Fake GPU 2")
    replace(record, compute_capability=None).check_here("10.16.0.72", "9.0", "Other")
    replace(record, compute_capability=None, targets=("sm_86", "sm_90")).check_here("10.16.0.72", "9.0", "Other")


@given(st.binary(min_size=1), st.data())
def test_a_plan_with_any_byte_changed_is_not_the_one_recorded(content: bytes, data: st.DataObject) -> None:
    record = record_of(content)
    place = data.draw(st.integers(0, len(content) - 1))
    record.check_plan(content, Path("a.engine"))

    with pytest.raises(EngineDamagedError, match="is not the plan"):
        record.check_plan(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], Path("a.engine"))
    with pytest.raises(EngineDamagedError, match=rf"truncated: {place} of {len(content)} bytes"):
        record.check_plan(content[:place], Path("a.engine"))
    with pytest.raises(EngineDamagedError, match="is not the plan"):
        record.check_plan(content + b"x", Path("a.engine"))


@pytest.mark.usefixtures("trt")
def test_the_graph_is_found_from_the_engines_folder(tmp_path: Path) -> None:
    onnx = tmp_path / "graphs" / "ä.onnx"
    onnx.parent.mkdir()
    onnx.write_text("{}")

    _, record = build_plan(GraphSource(onnx, "fp16", 17, ARTIFACT), tmp_path / "engines" / "a.engine", EngineOptions())

    assert record.onnx == "../graphs/ä.onnx"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("broken", ["write_bytes", "write_text", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_files_that_cannot_be_written_leave_the_old_ones(
    record: EngineRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    before = files(tmp_path)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(Path, broken, fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError) as caught:
        write_engine(tmp_path / "model.engine", b"new plan", record)
    monkeypatch.undo()

    assert files(tmp_path) == before
    if isinstance(caught.value, InputError):
        assert "model.engine cannot be written: no space left" in str(caught.value)


def test_a_folder_that_is_not_there_is_named(record: EngineRecord, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/model\.engine cannot be written: No such file"):
        write_engine(tmp_path / "nowhere" / "model.engine", b"", record)


def test_a_new_plan_and_its_record_take_the_place_of_the_old(record: EngineRecord, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    renewed = record_of(b"new plan", version="11", profiles=record.profiles)

    write_engine(path, b"new plan", renewed)

    assert path.read_bytes() == b"new plan"
    assert read_record(path) == renewed
    assert {file.name for file in tmp_path.iterdir()} == {"model.engine", "model.engine.json", "model.onnx"}
