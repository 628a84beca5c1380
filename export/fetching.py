"""Fetches the weights that rembg publishes as ONNX files, and recovers checkpoints from them."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from u2net.runtime.errors import CheckpointError, DependencyError, ExportError, InputError
from u2net.runtime.files import hash_file, locked_folder, written_whole

if TYPE_CHECKING:
    from u2net.export.recovery import RecoveredWeights

MIRROR = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
"""Address of the folder that holds the files, ``NAME.onnx``."""

PIECE = 2**18
"""Bytes that are written at a time."""


@dataclass(frozen=True)
class Release:
    """A published file."""

    digest: str
    """SHA-256, or another hash after its name: ``md5:…``."""
    preset: str = "reference"
    """Preset that the network was trained for."""


RELEASES: Mapping[str, Release] = {
    "u2net": Release("8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491"),
    "u2netp": Release("309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"),
    "u2net_human_seg": Release("01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c"),
    "u2net_cloth_seg": Release("md5:2434d1f3cb744e0e49386c906e5a08bb", preset="cloth"),
    "silueta": Release("75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb", preset="rembg"),
}


@dataclass(frozen=True)
class FetchedWeights:
    """A published file in the cache, and the checkpoint beside it."""

    path: Path
    """The checkpoint; the ONNX file if no checkpoint can be recovered from it."""
    source: Path
    """The ONNX file."""
    preset: str
    recovered: "RecoveredWeights | None"
    refusal: str
    """Why the file gives no checkpoint; empty if it does."""


def fetch_weights(
    name: str, *, cache: str | Path | None = None, mirror: str = MIRROR, timeout: float = 30.0, progress: bool = False
) -> FetchedWeights:
    """Download a published ONNX file into the cache and recover a checkpoint from it; what is there already is kept.

    Args:
        name: one of :data:`RELEASES`.
        cache: folder of the files; None means the user's own cache folder.
        mirror: address of a folder with the same files. A download is taken only if its hash is right.
        timeout: longest silence of the server in seconds.
        progress: draw a bar on stderr.

    Raises:
        DependencyError: a package that downloads is not installed.
        ExportError: the file cannot be downloaded, or a file cannot be written.
        InputError: there is no such name, the mirror is not an address, or the cache cannot be made or is in use.
    """
    if name not in RELEASES:
        raise InputError(f"there are no weights {name!r}; there are {', '.join(RELEASES)}")
    if not mirror.startswith(("http://", "https://")):
        raise InputError(f"the mirror is an address that begins with http:// or https://; got {mirror!r}")
    release, folder = RELEASES[name], _user_cache() if cache is None else Path(cache)
    source = folder / f"{name}.onnx"
    with locked_folder(folder, wait=True):
        _download(f"{mirror.rstrip('/')}/{name}.onnx", source, release.digest, timeout=timeout, progress=progress)
        try:
            recovered = _recover_once(source, release.digest)
        except CheckpointError as error:
            return FetchedWeights(source, source, release.preset, None, str(error))
    return FetchedWeights(recovered.path, source, release.preset, recovered, "")


def _user_cache() -> Path:
    try:
        from platformdirs import user_cache_path
    except ImportError:
        raise DependencyError("platformdirs", "export") from None
    return user_cache_path("u2net-deploy", appauthor=False)


def _download(url: str, path: Path, digest: str, *, timeout: float, progress: bool) -> None:
    """Download a file, unless it is there with the right hash. Raise ExportError in words if that fails."""
    try:
        import pooch  # type: ignore[import-untyped]
        import requests

        if progress:
            import tqdm  # type: ignore[import-untyped]  # noqa: F401  # pooch draws its bar with it
    except ImportError as error:
        raise DependencyError(error.name or "pooch", "export") from None
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=PIECE, timeout=timeout)
    try:
        pooch.retrieve(url, digest, path.name, path.parent, downloader=downloader)
    except requests.RequestException as error:
        reason = _explain(error, timeout)
    except ValueError as error:  # pooch found another hash; it has removed the file
        reason = str(error).partition(". Deleted")[0]
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    else:
        return
    raise ExportError(
        f"{url} cannot be fetched: {reason}; try again, name another server with --mirror, "
        f"or save the file as {path} by hand and run `u2net import {path} -o {path.stem}.safetensors`"
    )


def _explain(error: Exception, timeout: float) -> str:
    """Say what went wrong between us and the server."""
    import requests

    said = str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.TooManyRedirects):
        return "the server redirects without end"
    if isinstance(error, requests.Timeout) or "timed out" in said:
        return f"the server said nothing for {timeout:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"the connection broke off before the end of the file ({said})"
    cause = re.search(r"\[Errno -?\d+\] [^'\")]+", said)
    return f"there is no connection: {cause[0] if cause else said}"


def _recover_once(source: Path, digest: str) -> "RecoveredWeights":
    """Recover a file's checkpoint beside it, unless a record shows that it is there, whole and from this file."""
    from u2net.export.recovery import RecoveredWeights, recover_checkpoint

    target, record = source.with_suffix(".safetensors"), source.with_suffix(".json")
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(record.read_text())
        if kept["source"] == digest and kept["sha256"] == hash_file(target):
            return RecoveredWeights(**{**kept["weights"], "path": target})
    recovered = recover_checkpoint(source, target)
    facts = {"source": digest, "sha256": hash_file(target), "weights": asdict(recovered) | {"path": target.name}}
    with suppress(OSError), written_whole(record) as partial:  # without it the next call recovers again
        partial.write_text(json.dumps(facts))
    return recovered
