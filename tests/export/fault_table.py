"""Print the table of docs/parity.md: which fault the FP32 gate and the FP16 gate catch. ``fault_table.py FOLDER``."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
from faults import FAULTS

from u2net.export.fp16 import Fp16Options, convert_fp16
from u2net.export.graph import read_graph
from u2net.export.onnx_export import ExportOptions, export_onnx
from u2net.export.parity import ParityGate, VerifyOptions
from u2net.model.checkpoint import load_checkpoint
from u2net.model.weights import BUNDLED_WEIGHTS


def check(gate: ParityGate, source: Path, fault: Callable[[ir.Model], None], scratch: Path) -> str:
    """First figure over its limit, or that the fault went unseen."""
    model = read_graph(source)
    fault(model)
    ir.save(model, scratch)
    failures = gate.check(scratch).failures
    return str(failures[0]) if failures else "not caught"


def main(images: Path) -> None:
    """Export, convert, and try every fault on both files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ExportOptions(size=(160, 160))
        fp32 = export_onnx(load_checkpoint(BUNDLED_WEIGHTS), folder / "fp32.onnx", options).path
        fp16 = convert_fp16(fp32, folder / "fp16.onnx", Fp16Options(images)).path
        gate = ParityGate(BUNDLED_WEIGHTS, VerifyOptions(images=images))
        for fault_name, fault in FAULTS.items():
            verdicts = [check(gate, source, fault, folder / "faulty.onnx") for source in (fp32, fp16)]
            print(f"| `{fault_name}` | {' | '.join(verdicts)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
