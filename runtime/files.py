"""Files and folders that are written: whole, or not at all."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from u2net.runtime.errors import InputError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on leaving it takes its place, on an error it is removed.

    Raises:
        OSError: something that is no file, a folder or a device, has the name.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise OSError(errno.EINVAL, "it is there and is no file")
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def check_target(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Refuse a file that could not be written, or not under this name, before the work that makes it.

    Raises:
        InputError: its name ends otherwise, something that is no file is there, or its folder is not.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{path} is no name for this file; it ends in {', '.join(suffixes)}")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be written: it is there and is no file")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        InputError: a file is in the way, or the place is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made a folder: {error.strerror or error}") from error


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    yield
