import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from u2net.runtime.errors import ArtifactError, InputError, U2NetError
from u2net.runtime.files import check_readable, check_target, locked_folder, make_folder, written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert all(name.startswith("model.onnx.") and name.endswith(".partial") for name in names(tmp_path))

    assert path.read_text() == "first"  # the last to finish
    assert names(tmp_path) == ["model.onnx"]


def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")

    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), written_whole(path) as partial:
            partial.write_text("half")
            raise error

    assert path.read_text() == "old"
    assert names(tmp_path) == ["model.onnx"]


def test_the_longest_name_that_a_file_may_have_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("日" * 85)
    with written_whole(path) as partial:
        partial.write_text("whole")

    assert path.read_text() == "whole"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_gets_the_mode_of_the_umask_whatever_its_writer_chose(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with written_whole(tmp_path / "a") as partial:
            partial.unlink()
            partial.touch(0o600)  # as safetensors does
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2**40),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2**40),
        (Exception("I/O error: No space left on device (os error 28)"), 2**40),  # as safetensors does
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), 0),  # torch does not give the reason
    ],
)
def test_a_full_disk_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, free: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))

    with pytest.raises(OSError, match=f"^no space left on {tmp_path}$"), written_whole(tmp_path / "a"):
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("refusal", [InputError, ArtifactError])
def test_what_cannot_be_read_is_told_in_one_way(tmp_path: Path, refusal: type[U2NetError]) -> None:
    """InputError is a ValueError, as a path with a NUL byte raises one."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, found in (
        ("nowhere", ": there is no such file"),
        ("", " is not a file"),
        ("pipe", " is not a file"),
        ("file/name", " cannot be read: Not a directory"),
        ("\0", " cannot be read: embedded null byte"),
    ):
        with pytest.raises(refusal) as caught:
            check_readable(tmp_path / name, refusal)
        assert str(caught.value) == f"{tmp_path / name}{found}"
    check_readable(tmp_path / "file", refusal)


def test_a_folder_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="something other than a file"), written_whole(tmp_path):
        pass
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "nowhere" / "a"):
        pass
    with pytest.raises(InputError, match="something other than a file"):
        check_target(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_target(tmp_path / "nowhere" / "a")
    with pytest.raises(InputError, match="cannot be created as a folder"):
        make_folder(tmp_path / "file")


LOCK = """
import sys, time
from pathlib import Path
from u2net.runtime.files import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@contextmanager
def process_that_locks(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", LOCK, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot lock a folder")
def test_a_folder_is_locked_for_one_process_until_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with process_that_locks(folder) as process:
        with pytest.raises(InputError, match=r"another process is writing .*; wait for it, or name another folder"):
            locked_folder(folder).__enter__()
        process.kill()
        process.wait()
        with locked_folder(folder):
            assert names(folder) == []
    with locked_folder(folder), pytest.raises(InputError, match="another process"), locked_folder(folder):
        pass


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / name):
            raise ZeroDivisionError
    assert names(tmp_path) == ["old"]
