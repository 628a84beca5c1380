"""``u2net eval``."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from u2net.cli.options import DATASET, DeviceName, JsonFile, OnnxBackend, OwnPreset, SheetFile
from u2net.cli.printing import print_line, print_table, progress_lines
from u2net.runtime.device import CPU
from u2net.runtime.errors import InputError
from u2net.runtime.files import hash_file

if TYPE_CHECKING:
    from u2net.model.evaluation import Evaluation

WORST = 12
"""Number of pictures that are named and drawn, those with the largest MAE."""


def evaluate(
    model: Annotated[Path, typer.Argument(help="Checkpoint or model file.")],
    dataset: Annotated[Path, typer.Argument(help=DATASET)],
    more: Annotated[list[Path] | None, typer.Argument(help="Further checkpoints or model files.")] = None,
    preset: OwnPreset = None,
    json_file: JsonFile = None,
    sheet: SheetFile = None,
    device: DeviceName = CPU,
    backend: OnnxBackend = None,
) -> None:
    """Score models on photographs with masks.

    The last column is a guess that ignores the photograph: a blob in the middle.
    """
    from u2net.benchmarks.writing import write_json
    from u2net.export.parity.sessions import open_for_parity
    from u2net.model.contact_sheet import draw_contact_sheet
    from u2net.model.dataset import check_pairs, find_pairs
    from u2net.model.evaluation import centred_gaussian, score_masks, score_sessions

    pairs = find_pairs(dataset)
    check_pairs(pairs)
    if sheet is not None and any(sheet.exists() and sheet.samefile(path) for pair in pairs for path in astuple(pair)):
        raise InputError(f"{sheet} is a picture of the data set; name another file for the sheet")
    sessions = [open_for_parity(path, device, backend=backend, preset=preset) for path in (model, *(more or []))]
    with progress_lines() as say:
        results = (*score_sessions(sessions, pairs, say), score_masks("centred Gaussian", centred_gaussian, pairs))
    print_table(*_score_table(results), f"{dataset}: {len(pairs)} pictures")
    if json_file is not None:
        write_json(json_file, _as_json(dataset, results))
    if sheet is not None:
        draw_contact_sheet(results[0].pictures[:WORST], sessions[0], sheet)
    for path in filter(None, (json_file, sheet)):
        print_line(f"Wrote {path}")


def _score_table(results: Sequence["Evaluation"]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows, one for each metric: the score of each model."""
    from u2net.benchmarks.writing import short_names
    from u2net.export.accuracy import METRICS

    rows = [(title, *(f"{getattr(each.scores, name):.4f}" for each in results)) for name, title in METRICS.items()]
    return ("metric", *short_names(each.model for each in results)), rows


def _as_json(dataset: Path, results: Sequence["Evaluation"]) -> dict[str, Any]:
    """Return the scores by model, with each file's hash: a file of the same name may hold other weights later."""
    return {
        "dataset": dataset.resolve().name,
        "sha256": {each.model: hash_file(each.model) for each in results if isinstance(each.model, Path)},
        "scores": {each.model: each.scores for each in results},
        "worst": {
            each.model: {picture.pair.image.name: picture.mae for picture in each.pictures[:WORST]} for each in results
        },
    }
