"""The parity gate: run two stages on the same images and say where they differ too much."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from u2net.export.calibration import gather_images
from u2net.export.parity.figures import Comparison, ComparisonMeter
from u2net.export.parity.inputs import Probe, gather_probes
from u2net.export.parity.stages import Stage, claimed_preset, common_outputs, open_stage
from u2net.export.parity.tolerances import FEW_PIXELS, Tolerance, find_tolerance
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import FloatArray, preprocess
from u2net.runtime.presets import Preset, find_preset

MASK = "mask"
"""Name under which the image → mask comparison stands beside the outputs."""


@dataclass(frozen=True)
class VerifyOptions:
    """What to compare on.

    Attributes:
        images: folder of photographs, of which 32 are taken; None takes seeded synthetic scenes.
        preset: contract that the reference is fed by; None takes the published one of the candidate's name.
        device: where both sides run.
    """

    images: Path | None = None
    preset: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Failure:
    """A figure over its limit."""

    output: str
    figure: str
    value: float
    limit: float
    image: str
    """Empty for a figure over all images."""

    def __str__(self) -> str:
        where = f" on {self.image}" if self.image else ""
        return f"{self.output}: {self.figure} is {self.value:.3g}{where}, the limit {self.limit:.3g}"


@dataclass(frozen=True)
class StageParity:
    """One candidate against the reference."""

    reference: str
    candidate: str
    precision: str
    comparisons: tuple[Comparison, ...]
    """Each output in order, then the mask."""
    failures: tuple[Failure, ...]

    @property
    def passed(self) -> bool:
        """Whether every figure is within its limit."""
        return not self.failures


class ParityGate:
    """A reference and its photographs, held open so that several candidates cost it one run."""

    def __init__(self, reference: Path, options: VerifyOptions | None = None) -> None:
        """Open the reference, a checkpoint or a model file, and read the photographs.

        Raises:
            U2NetError: it cannot be opened or run, or they not be read.
        """
        self._options = options or VerifyOptions()
        self._device = Device.parse(self._options.device)
        self._wanted = find_preset(self._options.preset) if self._options.preset else None
        self._reference = open_stage(reference, self._device, self._options.preset)
        self._photographs = gather_images(self._options.images)
        self._memory: dict[tuple[str, Preset], dict[str, FloatArray]] = {}

    def check(self, candidate: Path) -> StageParity:
        """Run the candidate on every probe and judge the figures.

        Raises:
            U2NetError: it cannot be opened or run. A difference is no error: see :attr:`StageParity.passed`.
        """
        return self.compare(open_stage(candidate, self._device, self._options.preset))

    def compare(self, candidate: Stage) -> StageParity:
        """Like :meth:`check`, for a stage that is open already."""
        reference = self._reference
        names = common_outputs(reference, candidate)
        preset = claimed_preset(reference if candidate.preset is None else candidate, self._wanted)
        meters = [*(ComparisonMeter(name) for name in names), ComparisonMeter(MASK, logits=False)]
        shape = candidate.shape if reference.preset is None else reference.shape
        for probe in gather_probes(self._photographs, preset, shape):
            self._compare_probe(probe, preset.with_size(probe.height, probe.width), candidate, meters)
        comparisons = tuple(meter.comparison() for meter in meters)
        precision = "fp16" if "fp16" in (reference.precision, candidate.precision) else "fp32"
        failures = judge_figures(comparisons, find_tolerance(precision, self._device.kind))
        return StageParity(reference.label, candidate.label, precision, comparisons, failures)

    def _compare_probe(self, probe: Probe, preset: Preset, candidate: Stage, meters: list[ComparisonMeter]) -> None:
        """Feed both sides the same tensor; then, for photographs, each side the tensor of its own preset."""
        tensor = preprocess(probe.image, preset)
        wanted, found = self._remember(probe, preset, tensor), candidate.infer(tensor)
        *outputs, mask = meters
        for meter in outputs:
            meter.add(probe.name, wanted[meter.output], found[meter.output], overlap=not probe.hard)
        if probe.hard:
            return
        own = candidate.preset.with_size(probe.height, probe.width) if candidate.preset else preset
        if own != preset:
            found = candidate.infer(preprocess(probe.image, own))
        first = outputs[0].output
        mask.add(probe.name, _mask(wanted[first], preset, probe), _mask(found[first], own, probe), overlap=True)

    def _remember(self, probe: Probe, preset: Preset, tensor: FloatArray) -> dict[str, FloatArray]:
        key = (probe.name, preset)
        if key not in self._memory:
            self._memory[key] = self._reference.infer(tensor)
        return self._memory[key]


def verify(
    reference: Path, candidates: Sequence[Path], options: VerifyOptions | None = None
) -> tuple[StageParity, ...]:
    """Compare each candidate with the reference; each may be a checkpoint or a model file.

    Raises:
        U2NetError: a file cannot be opened or run. A difference is no error: see :attr:`StageParity.passed`.
    """
    gate = ParityGate(reference, options)
    return tuple(gate.check(candidate) for candidate in candidates)


def _mask(maps: FloatArray, preset: Preset, probe: Probe) -> FloatArray:
    height, width = probe.image.shape[:2]
    try:
        return postprocess(maps[0], preset, height, width)
    except ArtifactError:  # NaN or Inf: the gate counts them instead of stopping
        return np.full((height, width), np.nan, np.float32)


def judge_figures(comparisons: Sequence[Comparison], tolerance: Tolerance) -> tuple[Failure, ...]:
    """Every figure that is over its limit."""
    failures: list[Failure] = []
    for comparison in comparisons:
        mask = comparison.output == MASK
        spread = comparison.probability
        largest = tolerance.mask_largest if mask else tolerance.largest
        mean = tolerance.mask_mean if mask else tolerance.mean
        checks = [
            ("largest difference", spread.largest.value, largest, spread.largest.image),
            ("mean difference", spread.mean, mean, ""),
            ("number of NaN and Inf values", comparison.nonfinite.value, 0.0, comparison.nonfinite.image),
        ]
        if comparison.logit is not None:
            checks.append(("mean difference of logits", comparison.logit.mean, tolerance.logit_mean, ""))
        failures += [
            Failure(comparison.output, figure, value, limit, image)
            for figure, value, limit, image in checks
            if not value <= limit
        ]
        if comparison.flipped > FEW_PIXELS and not comparison.iou >= tolerance.iou:
            failures.append(Failure(comparison.output, "IoU", comparison.iou, tolerance.iou, ""))
    return tuple(failures)
