"""Layers of an engine on the simulated GPU, and in its record."""

import pytest

from tests.runtime.trt.conftest import ARTIFACT, WriteEngine
from tests.runtime.trt.fake_tensorrt import LAYER, FakeTensorRT
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, EngineDamagedError
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.compiling import compile_engine
from u2net.runtime.trt.running.inspection import RUNS, inspect_engine


@pytest.mark.parametrize("kind", ["trt", "old", "rtx"])
def test_layers_are_told_and_timed_at_the_most_frequent_shape(
    kind: str, request: pytest.FixtureRequest, write_engine: WriteEngine
) -> None:
    module: FakeTensorRT = request.getfixturevalue(kind)

    found = inspect_engine(write_engine(module), Device("cuda"))

    assert [(layer.name, layer.kind, layer.precision) for layer in found.layers] == [(LAYER, "CaskConvolution", "fp16")]
    assert found.times is not None
    assert found.times[LAYER] == pytest.approx(0.25)
    assert len(found.times) == 1
    assert found.where == f"Fake GPU, (2, 3, 32, 32) (mean of {RUNS} runs)"
    assert set(module.executed) == {(0, (2, 3, 32, 32))}


def test_what_was_kept_is_told_without_a_gpu(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)
    record = compile_engine(GraphSource(path.with_name("model.onnx"), "fp16", 17, ARTIFACT), path, EngineOptions())
    runs = len(trt.executed)

    found = inspect_engine(path, None)

    assert found.layers == record.layers
    assert [layer.precision for layer in found.layers] == ["fp16"]
    assert (found.times, found.where) == (None, "recorded when it was built on Fake GPU")
    assert len(trt.executed) == runs


def test_what_was_not_kept_or_is_not_there_is_said(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt)

    with pytest.raises(ArtifactError, match="are not recorded beside it"):
        inspect_engine(path, None)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EngineDamagedError, match="is truncated"):
        inspect_engine(path, None)
    path.unlink()
    with pytest.raises(ArtifactError, match="there is no such file"):
        inspect_engine(path, None)
