import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino  # noqa: F401
import pytest

from tests.runtime.trt import conftest
from u2net.runtime import load
from u2net.runtime.errors import ArtifactError, DependencyError, DeviceError, InputError
from u2net.runtime.loading import BackendName
from u2net.runtime.presets import PRESETS, Preset

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
ARTIFACT = replace(conftest.ARTIFACT, preset=PRESETS["raw"].with_size(64, 96))


@pytest.mark.parametrize("name", ["model.onnx", "nowhere/model.onnx"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="there is no such file") as caught:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_an_option_that_does_not_exist_is_named(tiny_onnx: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"load has no option presets; it has backend, preset, size, threads"):
        load(tiny_onnx(), presets="raw")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"preset": {}}, {"preset": 5}, {"device": None}, {"device": 0}])
def test_what_is_no_preset_or_device_is_refused(tiny_onnx: Callable[..., Path], options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is a name"):
        load(tiny_onnx(), **options)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()

    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        load(tmp_path / "model.onnx")


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file without permissions, and a user who needs them."""
    path, user = tmp_path / "secret.onnx", os.geteuid()
    path.touch(mode=0)
    if user == 0:
        os.seteuid(65534)
    yield path
    os.seteuid(user)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_may_not_be_read_is_told(secret: Path, backend: BackendName) -> None:
    with pytest.raises(ArtifactError, match=r"secret\.onnx cannot be read: Permission denied"):
        load(secret, backend=backend)


@pytest.mark.parametrize("keep", [0, 10, 0.1, 0.5, 0.99, -1, b"this is no network", b"\x00" * 100, bytes(range(256))])
def test_what_is_no_whole_onnx_file_is_refused(tmp_path: Path, small_onnx: Path, keep: float | bytes) -> None:
    if not isinstance(keep, bytes):
        content = small_onnx.read_bytes()
        keep = content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)]
    (tmp_path / "odd.onnx").write_bytes(keep)

    with pytest.raises(ArtifactError, match=r"odd\.onnx cannot be loaded"):
        load(tmp_path / "odd.onnx")


@pytest.mark.parametrize("name", ["u2netp.pth", "u2netp.safetensors", "model"])
def test_another_kind_of_file_is_told_how_to_become_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    with pytest.raises(ArtifactError, match=r"loads \.onnx and .*; `u2net export`"):
        load(tmp_path / name)


def test_a_foreign_file_must_be_told_its_preset(tiny_onnx: Callable[..., Path]) -> None:
    with pytest.raises(ArtifactError, match="name its preset: reference, rembg"):
        load(tiny_onnx())


@pytest.mark.parametrize("preset", ["rembg", PRESETS["rembg"]])
def test_a_foreign_file_works_with_a_preset(tiny_onnx: Callable[..., Path], preset: str | Preset) -> None:
    with load(tiny_onnx(height=320, width=320), preset=preset) as session:
        assert session.info.preset == PRESETS["rembg"]
        assert session.info.variant is None
        assert session(IMAGE).shape == (20, 30)


def test_a_foreign_classifier_is_refused(tmp_path: Path, tiny_onnx: Callable[..., Path]) -> None:
    model = onnx.load(tiny_onnx(height=32, width=32))
    model.graph.node[-1].output[0] = "y"
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["y"], ["scores"], keepdims=0, noop_with_empty_axes=0))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, []))
    onnx.save(model, tmp_path / "classifier.onnx")

    with pytest.raises(ArtifactError, match=r"classifier\.onnx"):
        load(tmp_path / "classifier.onnx", preset="raw")(IMAGE)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7", '"text"', "{}", '{"schema": 1}', ARTIFACT.to_json()[:-9]])
@pytest.mark.parametrize("preset", [None, "raw"])
def test_damaged_metadata_is_refused(tiny_onnx: Callable[..., Path], text: str, preset: str | None) -> None:
    with pytest.raises(ArtifactError, match=r"tiny\.onnx: its metadata is damaged"):
        load(tiny_onnx(metadata=text), preset=preset)


@pytest.mark.parametrize("preset", ["rembg", replace(PRESETS["rembg"], mean=(0.1, 0.2, 0.3))])
def test_a_preset_that_is_given_wins(tiny_onnx: Callable[..., Path], preset: str | Preset) -> None:
    path = tiny_onnx(metadata=ARTIFACT.to_json(), height=64, width=96)

    with load(path, preset=preset) as session:
        wanted = PRESETS[preset] if isinstance(preset, str) else preset
        assert session.info.preset == wanted.with_size(64, 96)


@pytest.mark.parametrize(
    "preset", ["rembgg", "", replace(PRESETS["raw"], std=(0.0, 1.0, 1.0)), replace(PRESETS["raw"], height=0)]
)
def test_a_preset_that_cannot_be_used_is_refused(tiny_onnx: Callable[..., Path], preset: str | Preset) -> None:
    with pytest.raises(InputError, match="preset"):
        load(tiny_onnx(), preset=preset)


def test_the_size_of_a_fixed_network_is_its_own(tiny_onnx: Callable[..., Path]) -> None:
    with load(tiny_onnx(height=37, width=53), preset="cloth") as session:
        assert session.info.preset == PRESETS["cloth"].with_size(37, 53)
        assert session(IMAGE).shape == (20, 30)


def test_a_dynamic_network_takes_the_presets_size_or_the_one_given(tiny_onnx: Callable[..., Path]) -> None:
    path = tiny_onnx(metadata=ARTIFACT.to_json())

    with load(path) as by_preset, load(path, size=(128, 32)) as by_hand:
        assert (by_preset.info.preset.height, by_preset.info.preset.width) == (64, 96)
        assert (by_hand.info.preset.height, by_hand.info.preset.width) == (128, 32)
        assert by_hand.infer(np.zeros((1, 3, 128, 32), np.float32))["d0"].shape == (1, 1, 128, 32)


@pytest.mark.parametrize(
    ("sides", "size", "found"),
    [
        ({}, (100, 64), "height 100 .* 96 and 128"),
        ({}, (64, 2049), "width 2049 .* 2016 and 2048"),
        ({}, (0, 0), "height 0"),
        ({"height": 64, "width": 64}, (96, 64), r"tiny\.onnx takes height 64; got 96"),
    ],
)
def test_a_size_that_does_not_go_is_refused(
    tiny_onnx: Callable[..., Path], sides: dict[str, int], size: tuple[int, int], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        load(tiny_onnx(**sides), preset="raw", size=size)


def test_a_size_of_numpy_numbers_becomes_plain_numbers(tiny_onnx: Callable[..., Path]) -> None:
    height, width = np.array([64, 96])
    with load(tiny_onnx(), preset="raw", size=(height, width)) as session:
        again = load(tiny_onnx(), preset=session.info.preset)

    assert again.info.preset == session.info.preset


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_an_error(
    tiny_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])

    with pytest.raises(DeviceError, match=r"has only CPUExecutionProvider; .*u2net-deploy\[gpu\]"):
        load(tiny_onnx(), device, preset="raw")


def test_without_onnxruntime_the_message_says_what_brings_it(
    tiny_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_onnx()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(DependencyError, match=r"u2net-deploy\[cpu\]"):
        load(path, preset="raw")
    with pytest.raises(DependencyError, match=r"u2net-deploy\[gpu\]"):
        load(path, "cuda", preset="raw")


@pytest.mark.parametrize("size", [320, (320,), "320x320", (320.0, 320.0), (True, 320)])
def test_a_size_is_two_whole_numbers(tiny_onnx: Callable[..., Path], size: Any) -> None:
    with pytest.raises(InputError, match=r"size is \(height, width\)"):
        load(tiny_onnx(), preset="raw", size=size)


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"threads": 2**31}, {"threads": "4"}, {"threads": True}, {"contexts": 0}]
)
def test_a_number_of_threads_or_runs_is_checked(tiny_onnx: Callable[..., Path], options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} is a whole number from 1 to 1024"):
        load(tiny_onnx(), preset="raw", **options)
    name = next(iter(options))
    with load(tiny_onnx(), preset="raw", **{name: np.int64(1)}):  # type: ignore[arg-type]
        pass
