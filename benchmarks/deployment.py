"""The main job: a checkpoint to a folder of verified, measured artifacts with their report."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from u2net.benchmarks.measure import BenchOptions, BenchReport, measure_models
from u2net.benchmarks.report import show_pictures, write_report
from u2net.export.build import ENGINE_NAME, FP16_NAME, FP32_NAME, INT8_NAME, BuildOptions, BuildResult, build_artifacts
from u2net.export.int8 import search_path
from u2net.model.checkpoint import Checkpoint, take_checkpoint
from u2net.runtime.errors import InputError
from u2net.runtime.files import check_target, locked_folder, make_folder
from u2net.runtime.images import find_images, is_output
from u2net.runtime.loading import load
from u2net.runtime.pictures import PictureFiles, plan_pictures, write_pictures
from u2net.runtime.trt.record import record_path

PICTURES = "pictures"
"""Subfolder of the masks and cut-outs."""

MODELS = (FP32_NAME, FP16_NAME, INT8_NAME, ENGINE_NAME, f"{ENGINE_NAME}.json", f"{ENGINE_NAME}.cache")
REPORTS = ("report.html", "report.md", "report.json")
"""Files that a build replaces or removes, as it does those of ``MODELS``; all others in the folder stay."""

STAGING = ".u2net-build-"


@dataclass(frozen=True)
class Deployment:
    """Everything that the main job wrote and found."""

    built: BuildResult
    bench: BenchReport
    reports: tuple[Path, ...]
    """``report.json``, ``report.md`` and ``report.html``."""
    pictures: tuple[PictureFiles, ...]
    skipped: tuple[str, ...]
    """Pictures without a mask, with the reason."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that was written."""
        records = (record_path(path) for path in self.built.artifacts if path.name == ENGINE_NAME)
        pictures = (path for each in self.pictures for path in (each.mask, each.cutout))
        return (*self.built.artifacts, *records, *self.reports, *pictures)


def deploy_checkpoint(
    checkpoint: Checkpoint | str | Path,
    folder: str | Path,
    options: BuildOptions | None = None,
    rounds: int = 10,
    progress: Callable[[str], None] = lambda _message: None,
) -> Deployment:
    """Export, verify, compile, benchmark and report into ``folder``, and cut out the images that the options name.

    The files are written to a temporary folder and replace those of an earlier build at the end, so an interrupted
    build changes nothing. The benchmark takes ``rounds`` rounds on the options' device.

    Raises:
        InputError: an option cannot be used, or another process builds into the folder.
        U2NetError: a stage cannot do its work.
    """
    build, folder = options or BuildOptions(), Path(folder)
    if build.int8:  # an interrupted search goes on in the next build
        search = build.int8.search_file or search_path(folder / INT8_NAME)
        build = replace(build, int8=replace(build.int8, search_file=search))
    timing = BenchOptions(batches=(build.export.batch or 1,), rounds=rounds, device=build.device)
    for each in (build.export, timing, build.int8):
        if each:
            each.check()
    places = [] if build.images is None else find_images(build.images, any_format=True)
    if folder.is_dir():
        for name in (*MODELS, *REPORTS):
            check_target(folder / name)
    if (folder / PICTURES).exists() and not (folder / PICTURES).is_dir():
        raise InputError(f"{folder / PICTURES} is not a folder; the masks and cut-outs belong there")
    plan_pictures(places, folder / PICTURES)  # like the checks above, before the work and not after
    checkpoint = take_checkpoint(checkpoint)
    with locked_folder(folder), _staging_in(folder) as staging:
        built = build_artifacts(checkpoint, staging, build, progress)
        bench = measure_models(built.loadable(build.device), checkpoint, timing, progress)
        progress("writing masks and cut-outs")
        with load(built.artifacts[0], build.device, contexts=1) as session:
            drawn = list(write_pictures(session, places, staging / PICTURES)) if places else []
        pictures = tuple(each for each in drawn if isinstance(each, PictureFiles))
        skipped = tuple(str(each) for each in drawn if not isinstance(each, PictureFiles))
        figures = show_pictures(pictures)
        built, bench, pictures = _moved((built, bench, pictures), staging, folder)
        reports = write_report(staging, built, bench, pictures, figures)
        _swap_in(staging, folder)
    return Deployment(built, bench, _moved(reports, staging, folder), pictures, skipped)


@contextmanager
def _staging_in(folder: Path) -> Iterator[Path]:
    """A temporary folder inside the target, so that moving files out of it is a rename."""
    for leftover in folder.glob(f"{STAGING}*"):  # of a build that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with TemporaryDirectory(prefix=STAGING, dir=folder) as name:
        yield Path(name)


def _swap_in(staging: Path, folder: Path) -> None:
    """Replace the owned files of the folder by those of the staging folder.

    The old report goes first and the new one comes last, so that no report stands beside files of another build. Only
    pictures that the old report lists are removed: masks and cut-outs that ``u2net run`` wrote there stay.
    """
    old_pictures = _read_pictures(folder)
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)
    for name in old_pictures:
        if not (staging / PICTURES / name).exists():
            (folder / PICTURES / name).unlink(missing_ok=True)
    for path in sorted((staging / PICTURES).glob("*")):
        make_folder(folder / PICTURES)
        path.replace(folder / PICTURES / path.name)
    for name in (*MODELS, *REPORTS):
        if (staging / name).exists():
            (staging / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _read_pictures(folder: Path) -> list[str]:
    """Names of the masks and cut-outs that the report in a folder lists; it may be missing or damaged."""
    try:
        listed = json.loads((folder / REPORTS[-1]).read_text(encoding="utf-8"))["pictures"]
        return [Path(path).name for each in listed for path in (each["mask"], each["cutout"]) if is_output(Path(path))]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _moved(value: Any, old: Path, new: Path) -> Any:
    """Return a copy of a result in which every path below one folder stands below another."""
    if isinstance(value, Path):
        return new / value.relative_to(old) if value.is_relative_to(old) else value
    if isinstance(value, tuple):
        return tuple(_moved(each, old, new) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _moved(getattr(value, each.name), old, new) for each in fields(value)})
    return value
