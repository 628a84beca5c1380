"""Covers record.py: a record is read as it was written, a damaged one is refused, and files are written whole."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.trt.conftest import RECORD, WriteEngine, files, record_of
from tests.runtime.trt.fake_tensorrt import FakeTensorRT
from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.errors import (
    ArtifactError,
    InputError,
    U2NetError,
)
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.layers import Layer
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
def test_a_record_is_read_as_it_was_written(record: EngineRecord) -> None:
    assert EngineRecord.from_json(record.to_json()) == record


@given(records, st.data())
def test_a_changed_record_is_refused_or_usable(record: EngineRecord, data: st.DataObject) -> None:
    """Any value in any place gives one of this package's errors, or a record that a plan can be checked against."""
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


LAYER = asdict(Layer("conv", "Conv", "fp16", True, True, ""))
PROFILE = asdict(Profile(Span.only(1), Span.only(64), Span.only(64)))


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("layers", {**LAYER, "fused": "x"}),
        ("layers", {**LAYER, "precision": []}),
        ("profiles", {**PROFILE, "width": {"low": 1.5, "best": 64, "high": 64}}),
    ],
)
def test_a_wrong_value_inside_a_layer_or_a_profile_is_refused(part: str, values: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        EngineRecord.from_json(json.dumps({**json.loads(RECORD.to_json()), part: [values]}))


@pytest.mark.parametrize("name", [field.name for field in fields(EngineRecord)])
def test_a_wrong_or_missing_value_is_refused(name: str) -> None:
    values = json.loads(RECORD.to_json())
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
        (lambda _text: '"schema"', "damaged"),
        (lambda _text: "{}", "damaged"),
        (lambda _text: "\ud800", r"model\.engine\.json cannot be read"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2; this version reads 1"),
        (lambda text: text.replace('"tensorrt"', '"tensorflow"'), "damaged .flavour is 'tensorflow'"),
        (lambda text: text.replace('"low": 1', '"low": 9'), "MIN"),
        (lambda text: text.replace('"plan_bytes"', '"plan_weight"'), "plan_weight"),
    ],
)
def test_a_damaged_record_is_refused(
    trt: FakeTensorRT, write_engine: WriteEngine, change: Callable[[str], str], says: str
) -> None:
    path = write_engine(trt)
    before = record_path(path).read_text()
    record_path(path).write_text(change(before), encoding="utf-8", errors="surrogatepass")
    assert record_path(path).read_bytes() != before.encode()

    with pytest.raises(ArtifactError, match=says):
        read_record(path)


def test_a_missing_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "model.engine") is None


def test_an_engine_for_this_machine_is_accepted() -> None:
    RECORD.check_here("10", "8.6", "Fake GPU 2")
    replace(RECORD, compute_capability=None).check_here("10", "9.0", "Other")
    replace(RECORD, compute_capability=None, targets=("sm_86", "sm_90")).check_here("10", "9.0", "Other")


@pytest.mark.parametrize("broken", ["write_bytes", "write_text", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failed_write_keeps_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    path = tmp_path / "model.engine"
    write_engine(path, b"old plan", record_of(b"old plan"))
    before = files(tmp_path)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(Path, broken, fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError) as caught:
        write_engine(path, b"new plan", record_of(b"new plan"))
    monkeypatch.undo()

    assert files(tmp_path) == before
    if isinstance(caught.value, InputError):
        assert "model.engine cannot be written: no space left" in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/model\.engine cannot be written: No such file"):
        write_engine(tmp_path / "nowhere" / "model.engine", b"", RECORD)
