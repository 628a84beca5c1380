"""``u2net eval``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.memory import keep_freed_memory
from u2net.cli.options import DeviceName, OwnPreset
from u2net.cli.printing import console, print_table
from u2net.runtime.device import CPU

WORST = 12


def evaluate(
    model: Annotated[Path, typer.Argument(help="Checkpoint or model file.")],
    dataset: Annotated[Path, typer.Argument(help="Folder with images/ and masks/, same stems.")],
    more: Annotated[list[Path] | None, typer.Argument(help="Further checkpoints or model files.")] = None,
    preset: OwnPreset = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures, and the worst pictures' names, to this file.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw what the first model met worst, as PNG.")] = None,
    device: DeviceName = CPU,
) -> None:
    """Score models on photographs with masks, beside a guess that does not look at them."""
    from u2net.benchmarks.report import score_table, scores_as_json, write_json
    from u2net.model.contact_sheet import draw_contact_sheet
    from u2net.model.dataset import check_pairs, find_pairs
    from u2net.model.evaluation import centred_gaussian, score_masks
    from u2net.model.opening import open_session
    from u2net.runtime.files import check_target

    keep_freed_memory()
    if json_file is not None:
        check_target(json_file)
    if sheet is not None:
        check_target(sheet, (".png",))
    pairs = find_pairs(dataset)
    check_pairs(pairs)
    names = [str(path) for path in (model, *(more or []))]
    sessions = {name: open_session(Path(name), device, preset=preset, tf32=False) for name in names}
    results = []
    with console.status("scoring") as status:
        for name, session in sessions.items():
            status.update(f"scoring {name} on {len(pairs)} pictures")
            results.append(score_masks(name, session, pairs))
        results.append(score_masks("centred Gaussian", centred_gaussian, pairs))
    print_table(*score_table(results), f"{dataset}: {len(pairs)} pictures")
    if json_file is not None:
        write_json(json_file, scores_as_json(dataset, names, results, WORST))
    if sheet is not None:
        draw_contact_sheet(results[0].pictures[:WORST], sessions[names[0]], sheet)
