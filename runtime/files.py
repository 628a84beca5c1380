"""Writes files whole or not at all, and locks folders."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from u2net.runtime.errors import InputError, U2NetError

NOT_A_FILE = "something other than a file has that name"

FULL = 2**20
"""If a write fails without an errno, as torch's do, a disk with fewer free bytes than this counts as full."""


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, named ``NAME.*.partial``; on leaving, it replaces ``path``.

    After an error the temporary file is removed. Its name is unique, so processes can write the same file at once.
    Raise OSError if something other than a file, such as a folder or a device, has the name, or no space is left.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise OSError(errno.EINVAL, NOT_A_FILE)
    partial = path.with_name(f"{path.name[:50]}.{uuid4().hex[:8]}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors writes 0600, whatever the umask
        partial.replace(path)
    except Exception as error:
        reason = getattr(error, "errno", None)
        told = reason in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        if told or (reason is None and path.parent.is_dir() and shutil.disk_usage(path.parent).free < FULL):
            raise OSError(f"no space left on {path.parent}") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def write_errors_as(kind: type[U2NetError], path: Path) -> Iterator[None]:
    """Raise ``kind``, with the path and the reason, for an OSError of the block, which writes that file."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def locked_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Make a folder if it is missing, and lock it against other processes that lock it too.

    With ``wait``, wait for them instead of raising. A folder made here that is still empty at the end is removed.

    The system releases the lock when the process ends, even after a crash, and no lock file is left. Windows and NFS
    cannot lock a folder, so there no process is kept out. Raise InputError if another process has locked the folder, or
    it cannot be made.
    """
    missing = not folder.exists()
    make_folder(folder)
    with contextlib.ExitStack() as stack:
        if missing:
            stack.callback(_remove_if_empty, folder)
        if sys.platform != "win32":
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise InputError(f"another process is writing {folder}; wait for it, or name another folder") from error
            except OSError:  # NFS
                pass
        yield


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def check_readable(path: Path, refusal: type[U2NetError]) -> None:
    """Raise ``refusal`` unless the path is a file that can be opened for reading."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
        if is_file:  # opening a pipe would wait for its writer
            path.open("rb").close()
    except FileNotFoundError:
        raise refusal(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise refusal(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not is_file:
        raise refusal(f"{path} is not a file")


def check_target(target: str | Path, suffixes: Sequence[str] = ()) -> Path:
    """Return the path; raise InputError if no file could be written there, or its name has none of the suffixes."""
    path = Path(target)
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{path} is not a valid name for this file; it must end in {', '.join(suffixes)}")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be written: {NOT_A_FILE}")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    return path


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents. Raise InputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be created as a folder: {error.strerror or error}") from error


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
