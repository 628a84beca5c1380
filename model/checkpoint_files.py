"""Reads untrusted checkpoint files: tensors and plain values, never code."""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import safe_globals

from u2net.runtime.errors import CheckpointError
from u2net.runtime.files import check_readable

UNPICKLING_REASON = re.compile(r"WeightsUnpickler error:\s*(.+?)(?:\.? Please|\n|$)")
"""The part of torch's message that is about the file; the rest advises the reader to load it unsafely."""

WEB_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")

OTHER_STARTS = {b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"\x08": "an ONNX file"}
"""Kinds of other files by their first bytes."""

SAVE_AGAIN = "load it with the program that made it, and save network.state_dict() alone"


def _plain_dict(*_factory: object) -> dict[object, object]:
    """Stand in for defaultdict, which torch's safe reader can create but not fill."""
    return {}


def _path_text(*parts: str) -> str:
    """Stand in for a path."""
    return "/".join(parts)


_numpy_scalar: Any = np.float64(0).__reduce__()[0]

HARMLESS_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_plain_dict, "collections.defaultdict"),
    *(list, dict, int, float),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    argparse.Namespace,
    *(
        (_path_text, f"{module}.{kind}Path")
        for module in ("pathlib", "pathlib._local")
        for kind in ("Posix", "Windows")
    ),
]
"""What may be pickled beside the weights: NumPy scalars, by their names in NumPy 1 and 2, default dictionaries with the
usual factories, parsed arguments and paths. None of them runs code from the file."""


def read_checkpoint_file(path: Path) -> object:
    """Return the content of a file: safetensors if it has that suffix or is in that format, else a pickle.

    Raise CheckpointError if the file is missing, damaged, something other than a checkpoint, or would run code.
    """
    check_readable(path, CheckpointError)
    with path.open("rb") as stream:
        head = stream.read(512)
    _refuse_other_files(path, head)
    safe = path.suffix.lower() == ".safetensors" or head[8:9] == b"{"  # the start of its header
    return _read_safetensors(path) if safe else _read_pickle(path)


def _refuse_other_files(path: Path, head: bytes) -> None:
    """Raise CheckpointError for what a failed download leaves in place of a checkpoint, and for the tar format."""
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights; fetch them with git lfs pull")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_PAGE_STARTS):
        raise CheckpointError(
            f"{path} is a page of HTML, not weights: the host answered with a login, warning or error page; "
            "open the link in a browser and download the file itself"
        )
    if path.suffix.lower() != ".safetensors":
        if kind := next((kind for start, kind in OTHER_STARTS.items() if head.startswith(start)), None):
            raise CheckpointError(f"{path} is {kind}, not a checkpoint")
        if not head:
            raise CheckpointError(f"{path} cannot be read as a checkpoint: it is empty")
    if head.startswith(b"ustar", 257):
        raise CheckpointError(
            f"{path} is a tar archive; extract it, or, if PyTorch 0.1 wrote it as a checkpoint, {SAVE_AGAIN}"
        )


def _read_pickle(path: Path) -> object:
    try:
        with warnings.catch_warnings(action="ignore"), safe_globals(HARMLESS_GLOBALS):
            _check_archive(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = UNPICKLING_REASON.search(str(error))
        reason = match[1] if match else "PyTorch gives no reason"
        if reason.startswith("Unsupported operand"):  # an unknown opcode: it is no pickle
            raise CheckpointError(f"{path} cannot be read as a PyTorch checkpoint: its format is not known") from error
        raise CheckpointError(
            f"{path} is refused: it holds more than tensors and plain values ({reason}). Unpickling that can run "
            f"code. If you trust it, {SAVE_AGAIN}"
        ) from error
    except Exception as error:  # a damaged pickle makes torch's reader raise almost anything
        reason = _first_line(error)
        if "TorchScript" in reason:
            raise CheckpointError(
                f"{path} is a TorchScript program, which can run code, not a state dict. If you trust it, load it with "
                "torch.jit.load and save its state_dict() with torch.save"
            ) from error
        if "weights_only" in reason:
            reason = "its format is not known"
        raise CheckpointError(f"{path} cannot be read as a PyTorch checkpoint: {reason}") from error


def _check_archive(path: Path) -> None:
    """Raise BadZipFile if a file of a zip archive is damaged: torch does not look at the checksums."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if name := archive.testzip():
                raise zipfile.BadZipFile(f"{name} does not match its checksum; copy or download the file again")


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
