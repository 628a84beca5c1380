"""FP32 graph to INT8: as many convolutions as a promise about the masks allows."""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from u2net.export.calibration import gather_images, make_tensors
from u2net.export.graph import GraphStage, open_graph, read_artifact, read_graph, write_graph
from u2net.export.parity.figures import THRESHOLD
from u2net.export.qdq import calibrate, quantize_convolutions
from u2net.runtime.artifact import PROMISE, Agreement, Calibrator, LayerLoss, Quantization, Target
from u2net.runtime.errors import ExportError, InputError
from u2net.runtime.files import check_target, hash_bytes, hash_file, written_whole
from u2net.runtime.images import find_images
from u2net.runtime.kinds import check_options
from u2net.runtime.packages import installed_versions
from u2net.runtime.preprocess import FloatArray

WANTED_IMAGES = 200
"""Number of photographs to give, and the most that are used: one half calibrates, the other half judges."""

FEWEST_IMAGES = 16

RANKING_IMAGES = 8
"""Number of held-out photographs on which the loss of each convolution is measured."""


@dataclass(frozen=True)
class Int8Options:
    """How to quantize.

    Attributes:
        images: folder of photographs, some 200: the even ones calibrate, the odd ones judge.
        target: what is to run the file: ``cpu`` for ONNX Runtime and OpenVINO, ``tensorrt`` for TensorRT.
        promise: how close the masks of the held-out photographs stay to those of the FP32 graph.
        calibrator: ``minmax`` covers all values that occur, ``percentile`` leaves out the rarest.
        search_file: file that keeps what the search measured until it is done; None puts it beside the graph.
    """

    images: str | Path
    target: Target = "cpu"
    promise: Agreement = PROMISE
    calibrator: Calibrator = "minmax"
    search_file: str | Path | None = None

    def check(self) -> None:
        """Raise InputError if there are too few photographs, or a value of the promise is out of range."""
        check_options(self, "the INT8 options")
        wanted = self.promise
        if not (0 <= wanted.iou <= 1 and 0 <= wanted.low_iou <= 1 and 0 < wanted.mean <= 1):
            raise InputError(f"a promise has IoUs from 0 to 1 and a mean difference above 0, at most 1; got {wanted}")
        count = len(find_images(self.images))
        if count < FEWEST_IMAGES:
            raise InputError(
                f"{self.images} has {count} photographs; INT8 takes at least {FEWEST_IMAGES}, better some "
                f"{WANTED_IMAGES}: one half calibrates, the other half judges"
            )


def quantize_int8(
    source: str | Path,
    path: str | Path,
    options: Int8Options,
    progress: Callable[[str], None] = lambda _message: None,
) -> GraphStage:
    """Write the INT8 graph of an FP32 one: the largest set of convolutions that keeps the promise.

    First each convolution is quantized alone, which gives its loss; then those that cost least are quantized together.
    An interrupted search goes on from what it had measured.

    Raises:
        ExportError: this project did not export the graph, it is not FP32, or the promise cannot be kept.
        InputError: there are too few photographs, or one cannot be read.
    """
    started = time.perf_counter()
    options.check()
    source, path = Path(source), Path(path)
    model = read_graph(source)
    artifact = read_artifact(model, source)
    if artifact.precision != "fp32":
        raise ExportError(f"{source} is {artifact.precision} already; quantize the FP32 graph")
    progress("int8: reading the photographs")
    tensors = make_tensors(artifact, list(gather_images(options.images, WANTED_IMAGES).values()))
    hashes = [hash_bytes(tensor.tobytes()) for tensor in tensors]
    if (distinct := len(set(hashes))) < FEWEST_IMAGES:
        raise InputError(f"{options.images} has {distinct} different photographs; INT8 takes at least {FEWEST_IMAGES}")
    calibration, judge = tensors[::2], _Judge(model, tensors[1::2])
    progress(f"int8: calibrating on {len(calibration)} photographs")
    ranges = calibrate(source, calibration, options.target, options.calibrator)

    def quantize(names: Collection[str]) -> ir.Model:
        return quantize_convolutions(source, ranges, options.target, names)

    kept = _SearchFile(Path(options.search_file or search_path(path)), source, hashes, options)
    convolutions = [str(node.name) for node in model.graph if node.op_type == "Conv"]
    convolutions.remove(_find_fusion(model))
    losses = _rank(convolutions, quantize, judge, kept, progress)
    chosen, agreement = _choose(losses, quantize, judge, options.promise, progress)
    written = replace(
        artifact,
        precision="int8",
        versions={**artifact.versions, **installed_versions(("onnxruntime",))},
        fp32_nodes=tuple(str(node.name) for node in model.graph if node.op_type == "Conv" and node.name not in chosen),
        quantization=Quantization(
            target=options.target,
            calibrator=options.calibrator,
            calibration_images=len(calibration),
            held_out_images=len(judge.tensors),
            agreement=agreement,
            losses=tuple(LayerLoss(name, loss) for name, loss in losses.items()),
        ),
    )
    stage = write_graph(quantize(chosen), path, written, started)
    kept.forget()
    return stage


def search_path(graph: Path) -> Path:
    """Return where the search for a graph keeps what it measured."""
    return graph.with_name(f"{graph.name}.search.json")


def _find_fusion(model: ir.Model) -> str:
    """Return the name of the last convolution before the fused map.

    It stays in FP32: it is 0.003 % of the bundled network's arithmetic, and in INT8 it costs more than any other.
    """
    value: ir.Value | None = model.graph.outputs[0]
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "Conv":
            return str(node.name)
        value = node.inputs[0]
    raise ExportError("the graph has no convolution before its first output")


class _Judge:
    """Compares graphs with the FP32 one on the held-out photographs."""

    def __init__(self, model: ir.Model, tensors: Sequence[FloatArray]) -> None:
        self.tensors = tensors
        self._output = str(model.graph.outputs[0].name)
        session = open_graph(model)
        self._wanted = [session.infer(tensor, [self._output])[self._output] for tensor in tensors]

    def compare(self, model: ir.Model, count: int | None = None) -> Agreement:
        """Compare on the first ``count`` photographs, or on all."""
        session, overlaps, differences = open_graph(model), [], []
        for tensor, wanted in zip(self.tensors[:count], self._wanted[:count], strict=True):
            found = session.infer(tensor, [self._output])[self._output]
            before, after = wanted > THRESHOLD, found > THRESHOLD
            overlaps.append(((before & after).sum(), (before | after).sum()))
            differences.append(np.abs(wanted - found).mean())
        both, either = np.array(overlaps, np.float64).T
        ious = np.divide(both, either, out=np.ones_like(both), where=either > 0)
        pooled = both.sum() / either.sum() if either.any() else 1.0
        return Agreement(float(pooled), float(np.percentile(ious, 5)), float(np.mean(differences)))


class _SearchFile:
    """Keeps the losses measured so far in a file, which serves only the same graph, photographs and options."""

    def __init__(self, path: Path, source: Path, photographs: Sequence[str], options: Int8Options) -> None:
        """Read what an earlier search measured. ``photographs`` are their hashes."""
        self.path = check_target(path)
        inputs = [options.target, options.calibrator, hash_file(source), *photographs]
        self._key = hash_bytes(" ".join(inputs).encode())
        self.losses: dict[str, float] = {}
        # A file that is damaged or of another search is overwritten.
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            known = json.loads(self.path.read_text(encoding="utf-8"))
            if known["key"] == self._key:
                losses = {str(name): float(loss) for name, loss in known["losses"].items()}
                self.losses = losses if all(0 <= loss <= 1 for loss in losses.values()) else {}

    def keep(self, name: str, loss: float) -> None:
        self.losses[name] = loss
        with suppress(OSError), written_whole(self.path) as partial:  # without it the next search starts anew
            partial.write_text(json.dumps({"key": self._key, "losses": self.losses}), encoding="utf-8")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


def _rank(
    convolutions: Sequence[str],
    quantize: Callable[[Collection[str]], ir.Model],
    judge: _Judge,
    kept: _SearchFile,
    progress: Callable[[str], None],
) -> dict[str, float]:
    """Return the loss of each convolution if it alone is in INT8, the smallest first."""
    started = time.perf_counter()
    left = [name for name in convolutions if name not in kept.losses]
    if left:
        progress(f"int8: {len(left)} convolutions to measure; if interrupted, the search goes on from {kept.path}")
    for index, name in enumerate(left):
        minutes = (time.perf_counter() - started) / max(index, 1) * (len(left) - index) / 60
        told = f", {minutes:.0f} min left" if index else ""
        progress(f"int8: convolution {len(convolutions) - len(left) + index + 1} of {len(convolutions)} alone{told}")
        kept.keep(name, judge.compare(quantize([name]), RANKING_IMAGES).mean)
    return dict(sorted(((name, kept.losses[name]) for name in convolutions), key=lambda each: each[1]))


def _choose(
    losses: Mapping[str, float],
    quantize: Callable[[Collection[str]], ir.Model],
    judge: _Judge,
    promise: Agreement,
    progress: Callable[[str], None],
) -> tuple[list[str], Agreement]:
    """Bisect for how many of the cheapest convolutions keep the promise; return them and their agreement."""
    names, kept, refused = list(losses), 0, len(losses) + 1
    best = None
    while refused - kept > 1:
        count = len(names) if refused > len(names) else (kept + refused) // 2
        progress(f"int8: {count} of {len(names)} convolutions together")
        found = judge.compare(quantize(names[:count]))
        if found.keeps(promise):
            kept, best = count, found
        else:
            refused, nearest = count, found
    if best is None:
        raise ExportError(f"the promise ({promise}) cannot be kept: one convolution alone in INT8 reached {nearest}")
    return names[:kept], best
