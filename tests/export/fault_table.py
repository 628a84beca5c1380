"""Print the fault table of docs/parity.md: what the gates catch. ``python -m tests.export.fault_table FOLDER``."""

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tests.export.faults import FAULTS, floor_for_ceil, inject
from u2net.export.calibration import gather_images, make_tensors
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import read_artifact, read_graph, write_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, VerifyOptions
from u2net.export.parity.sessions import open_for_parity
from u2net.export.qdq import calibrate, quantize_convolutions
from u2net.model.checkpoint import Checkpoint, load_checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.artifact import Target
from u2net.runtime.device import CPU
from u2net.runtime.errors import ExportError


def check(gate: ParityGate, faulty: Path) -> str:
    """Return the first figure over its limit, or that the fault was not caught."""
    failures = gate.compare(open_for_parity(faulty, CPU)).failures
    return str(failures[0]) if failures else "not caught"


def quantize(fp32: Path, path: Path, images: Path, target: Target = "cpu") -> Path:
    """Write the graph with every convolution in INT8."""
    artifact = read_artifact(read_graph(fp32), fp32)
    ranges = calibrate(fp32, make_tensors(artifact, list(gather_images(images).values())), target, "minmax")
    return write_graph(quantize_convolutions(fp32, ranges, target), path, replace(artifact, precision="int8"), 0).path


def export_both(checkpoint: Checkpoint, folder: Path, size: tuple[int, int], images: Path) -> tuple[Path, Path]:
    """Write the FP32 and the FP16 graph of a checkpoint."""
    fp32 = export_onnx(checkpoint, folder / "fp32.onnx", ExportOptions(size=size)).path
    return fp32, convert_fp16(fp32, folder / "fp16.onnx", images).path


def main(images: Path) -> None:
    """Print what the gate says of every fault in each precision; the INT8 graph is quantized after the fault."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundled, scratch, int8 = load_checkpoint(BUNDLED_WEIGHTS), folder / "faulty.onnx", folder / "int8.onnx"
        gate = ParityGate(open_for_parity(BUNDLED_WEIGHTS, CPU), VerifyOptions(images=images))
        correct = export_both(bundled, folder, (160, 160), images)
        for fault_name, fault in FAULTS.items():
            fp16 = check(gate, inject(correct[1], fault, scratch))
            fp32 = check(gate, inject(correct[0], fault, scratch))
            try:
                quantized = check(gate, quantize(scratch, int8, images))
            except ExportError as error:
                quantized = f"refused: {str(error).replace(str(scratch), scratch.name)}"
            print_row(fault_name, (fp32, fp16, quantized))
        floored = export_both(floor_for_ceil(bundled), folder, (75, 100), images)
        faulty = (*floored, quantize(floored[0], int8, images))
        print_row(floor_for_ceil.__name__, (check(gate, each) for each in faulty))


def print_row(fault: str, verdicts: Iterable[str]) -> None:
    """Print one row of the table."""
    print(f"| `{fault}` | {' | '.join(verdicts)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
