"""``u2net eval``."""

from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import DATASET, DeviceName, JsonFile, OnnxBackend, OwnPreset, SheetFile
from u2net.cli.printing import print_line, print_table, progress_lines
from u2net.runtime.device import CPU
from u2net.runtime.errors import InputError

WORST = 12


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
    from u2net.benchmarks.report import score_table, scores_as_json
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
    print_table(*score_table(results), f"{dataset}: {len(pairs)} pictures")
    if json_file is not None:
        write_json(json_file, scores_as_json(dataset, results, WORST))
    if sheet is not None:
        draw_contact_sheet(results[0].pictures[:WORST], sessions[0], sheet)
    for path in filter(None, (json_file, sheet)):
        print_line(f"Wrote {path}")
