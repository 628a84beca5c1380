"""Files that are not checkpoints, and files that would run code. Module: checkpoint_files."""

import argparse
import io
import pickle
import tarfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.model.conftest import Intruder, MakeState, refusal, saved
from u2net.model.checkpoint import load_checkpoint
from u2net.model.checkpoint_files import read_checkpoint_file
from u2net.model.network import U2NETP

BOTH = pytest.mark.parametrize("suffix", [".pth", ".safetensors"])


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a"])
def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path, name: str) -> None:
    assert "there is no such file" in refusal(tmp_path / name)
    (tmp_path / name).mkdir()
    assert "is not a file" in refusal(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"these are no weights\n", b"\x00" * 4096, b"PK\x03\x04", b"\x80\x02."])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_other_content_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)

    assert "cannot be read as" in (message := refusal(path)) or "is refused" in message


@BOTH
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4574861\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>", "page of HTML"),
        (b"\xef\xbb\xbf\r\n<HTML><body>Sign in</body></HTML>", "page of HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "page of HTML"),
    ],
)
def test_a_failed_download_is_named(tmp_path: Path, suffix: str, content: bytes, found: str) -> None:
    path = tmp_path / f"u2net{suffix}"
    path.write_bytes(content)

    assert f"is a {found}" in refusal(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture"),
        (b"\x08\x08\x12\x07pytorch", "is an ONNX file"),
        (b"\x10\0\0\0\0\0\0\0{}", "cannot be read as safetensors"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)

    assert found in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["A.SAFETENSORS", "a.pth"])
def test_safetensors_may_have_another_suffix(tmp_path: Path, fresh_state: MakeState, name: str) -> None:
    save_file(fresh_state(1), tmp_path / name)

    assert load_checkpoint(tmp_path / name).variant == "u2netp"


def test_a_damaged_weight_is_found_by_its_checksum(tmp_path: Path, fresh_state: MakeState) -> None:
    torch.save(fresh_state(1), tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(content)

    assert "does not match its checksum" in refusal(tmp_path / "a.pth")


def test_torchscript_is_named(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(tmp_path / "a.pt")  # type: ignore[no-untyped-call]
    recwarn.clear()

    assert "is a TorchScript program" in refusal(tmp_path / "a.pt")
    assert not recwarn.list


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_the_tar_format_is_named(tmp_path: Path, form: int) -> None:
    with tarfile.open(tmp_path / "old.pth", "w", format=form) as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            content = pickle.dumps(0)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

    assert "is a tar archive" in refusal(tmp_path / "old.pth")


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
@BOTH
def test_a_truncated_file_is_refused(tmp_path: Path, fresh_state: MakeState, suffix: str, keep: float) -> None:
    path = tmp_path / f"short{suffix}"
    (torch.save if suffix == ".pth" else save_file)(fresh_state(1), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])

    assert "cannot be read as" in refusal(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"\x93NUMPY"]), rest=st.binary(max_size=60))
@example(start=b"", rest=b"j")
def test_random_bytes_are_refused(tmp_path: Path, start: bytes, rest: bytes) -> None:
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"noise{suffix}"
        path.write_bytes(start + rest)
        refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["alone", "beside", "inside", "as a default factory"])
def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, fresh_state: MakeState, place: str, zipped: bool
) -> None:
    trace = tmp_path / "trace"
    content: dict[str, Callable[[], object]] = {
        "alone": lambda: Intruder(trace),
        "beside": lambda: {"state_dict": fresh_state(1), "hyper": Intruder(trace)},
        "inside": lambda: {**fresh_state(1), "extra": Intruder(trace)},
        "as a default factory": lambda: {"state_dict": fresh_state(1), "scores": defaultdict(trace.touch)},
    }
    path = tmp_path / "evil.pth"
    torch.save(content[place](), path, _use_new_zipfile_serialization=zipped)

    message = refusal(path)

    assert "is refused" in message
    assert "save network.state_dict() alone" in message
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    assert "is refused" in refusal(saved(U2NETP(), tmp_path / "module.pth"))


def test_plain_values_beside_the_weights_are_read(tmp_path: Path, fresh_state: MakeState) -> None:
    scores: defaultdict[str, list[object]] = defaultdict(list, {"mae": [np.float64(0.05), np.float32(0.5)]})
    nested: defaultdict[str, dict[str, int]] = defaultdict(dict, {"a": defaultdict(int, {"b": 2})})
    beside = {
        "scores": scores,
        "nested": nested,
        "numbers": [np.int64(7), np.int32(-1), np.uint8(3), np.float16(2), np.bool_(True)],
        "others": OrderedDict(a=Counter("aab")),
        "arguments": argparse.Namespace(lr=0.1, sizes=[1, 2]),
    }
    path = saved({"state_dict": fresh_state(1), **beside}, tmp_path / "a.pth")

    content = read_checkpoint_file(path)

    assert isinstance(content, dict)
    assert {name: content[name] for name in beside} == beside
    assert load_checkpoint(path).variant == "u2netp"


def test_paths_beside_the_weights_are_read_as_text(tmp_path: Path, fresh_state: MakeState) -> None:
    path = saved({"state_dict": fresh_state(1), "data": Path("a/b")}, tmp_path / "a.pth")

    content = read_checkpoint_file(path)

    assert isinstance(content, dict)
    assert content["data"] == "a/b"


def test_numpy_1_scalars_are_read(tmp_path: Path, fresh_state: MakeState) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": fresh_state(1), "mae": np.float64(0.05)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))

    content = read_checkpoint_file(path)

    assert isinstance(content, dict)
    assert content["mae"] == 0.05
