"""Files and folders that are written: whole, or not at all."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator
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
