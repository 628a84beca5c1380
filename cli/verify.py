"""``u2net verify``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import DeviceName, Images, JsonFile, OnnxBackend, OwnPreset
from u2net.cli.printing import console, print_line, print_table, progress_lines
from u2net.runtime.device import CPU


def verify(
    reference: Annotated[Path, typer.Argument(help="Reference checkpoint or model file.")],
    candidates: Annotated[list[Path], typer.Argument(help="Checkpoints or model files to compare with it.")],
    images: Images = None,
    preset: OwnPreset = None,
    json_file: JsonFile = None,
    device: DeviceName = CPU,
    backend: OnnxBackend = None,
) -> None:
    """Compare models on photographs and hard inputs.

    Exit status 1 if one exceeds its tolerances.
    """
    from u2net.benchmarks.report import parity_table
    from u2net.benchmarks.writing import write_json
    from u2net.export.parity import VerifyOptions, verify_models

    with progress_lines() as say:
        results = verify_models(reference, candidates, VerifyOptions(images, preset, device, backend), say)
    for result in results:
        title = f"{result.candidate} ({result.precision}) against {result.reference}"
        if result.note:
            print_line(f"{result.candidate}: {result.note}")
        print_table(*parity_table(result), title)
        print_line(f"Limits: {result.tolerance}")
        if result.passed and len(results) > 1:
            print_line(f"passed {result.candidate}", style="green")
        for failure in result.failures:
            print_line(f"FAILED {result.candidate}: {failure}", style="red")
    if json_file is not None:
        write_json(json_file, results)
        print_line(f"Wrote {json_file}")
    passed = all(result.passed for result in results)
    console.print("passed" if passed else "FAILED", style="green" if passed else "red")
    raise typer.Exit(0 if passed else 1)
