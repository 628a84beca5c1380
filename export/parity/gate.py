"""The parity gate: run two sessions on the same images and report where they differ too much."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from u2net.export.calibration import gather_images
from u2net.export.parity.figures import Comparison, ComparisonMeter
from u2net.export.parity.inputs import (
    Probe,
    fit_image,
    gather_probes,
    hard_images,
    image_sets,
    resize_image,
    sized_presets,
)
from u2net.export.parity.sessions import check_variant, claimed_preset, open_for_parity, pair_outputs
from u2net.export.parity.tolerances import FEW_PIXELS, Tolerance, find_tolerance
from u2net.runtime.backend import Array
from u2net.runtime.device import CPU, Device
from u2net.runtime.errors import ArtifactError, InputError, ProfileError
from u2net.runtime.kinds import check_options
from u2net.runtime.loading import BackendName
from u2net.runtime.postprocess import postprocess
from u2net.runtime.preprocess import ByteArray, FloatArray, preprocess
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session


@dataclass(frozen=True)
class VerifyOptions:
    """Images, preset and device of a comparison.

    Attributes:
        images: folder of photographs, of which 32 are used; None uses seeded synthetic scenes.
        preset: preset for the reference's input; None takes the published preset that the candidate names.
        device: where both sides run.
        backend: what runs candidates that are ONNX files; see :func:`u2net.runtime.load`.
    """

    images: str | Path | None = None
    preset: Preset | None = None
    device: Device = CPU
    backend: BackendName | None = None


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
        where, form = f" on {self.image}" if self.image else "", ".5f" if self.figure == "IoU" else ".3g"
        return f"{self.output}: {self.figure} is {self.value:{form}}{where}, the limit {self.limit:{form}}"


@dataclass(frozen=True)
class StageParity:
    """One candidate against the reference."""

    reference: Path
    candidate: Path
    precision: str
    outputs: tuple[Comparison, ...]
    mask: Comparison
    tolerance: Tolerance
    failures: tuple[Failure, ...]
    note: str = ""
    """What else a reader of the figures must know, such as outputs that were matched by position."""

    @property
    def passed(self) -> bool:
        """True if every figure is within its limit."""
        return not self.failures


class ParityGate:
    """A reference and its outputs on the photographs, which are computed once for all candidates that take tensors."""

    def __init__(self, reference: Session, options: VerifyOptions) -> None:
        """Read the photographs. Raise InputError if one cannot be read, or if the reference takes images."""
        if reference.info.takes_images:
            raise InputError(
                f"{reference.info.path} takes images and cannot be the reference; name the checkpoint, or a graph that "
                "takes tensors"
            )
        self._reference = reference
        self._wanted = options.preset
        self._photographs = gather_images(options.images)
        self._memory: dict[tuple[str, Preset], dict[str, FloatArray]] = {}

    def compare(self, candidate: Session) -> StageParity:
        """Run the candidate on every probe and check the figures against their limits.

        Raise U2NetError if it cannot be run. A difference is not an error: see :attr:`StageParity.passed`.
        """
        check_variant(self._reference.info, candidate.info)
        if candidate.info.takes_images:
            if self._wanted is not None and self._wanted.name != candidate.info.preset.name:
                raise InputError(
                    f"{candidate.info.path} has the preset {candidate.info.preset.name!r} built in; it cannot be "
                    f"compared with {self._wanted.name!r}"
                )
            notes = []
            if best := candidate.info.image_size:
                notes.append(f"images that no profile takes were resized to {best[0]}×{best[1]}")
            if _rounds(candidate):
                notes.append("its masks are whole grey levels, so half a level is no difference")
            return self._judge(candidate, (), self._compare_images(candidate), "; ".join(notes))
        names = pair_outputs(self._reference, candidate)
        preset = claimed_preset(candidate if candidate.info.preset_stated else self._reference, self._wanted)
        meters = {name: ComparisonMeter(wanted) for name, wanted in names.items()}
        mask = ComparisonMeter("mask", logits=False)
        for probe in gather_probes(self._photographs, sized_presets((self._reference, candidate), preset)):
            self._compare_probe(probe, candidate, meters, mask)
        renamed = [f"{name} is {wanted}" for name, wanted in names.items() if name != wanted]
        note = f"outputs matched by position: {', '.join(renamed)}" if renamed else ""
        return self._judge(candidate, tuple(meter.comparison() for meter in meters.values()), mask.comparison(), note)

    def _judge(
        self, candidate: Session, found: tuple[Comparison, ...], mask: Comparison, note: str = ""
    ) -> StageParity:
        reference = self._reference.info
        both = reference.precision, candidate.info.precision
        precision = next((each for each in ("int8", "bf16", "fp16") if each in both), "fp32")  # the widest limits
        tolerance = find_tolerance(precision, candidate.info.device.kind)
        files = reference.path, candidate.info.path
        return StageParity(*files, precision, found, mask, tolerance, judge_figures(found, mask, tolerance), note)

    def _compare_images(self, candidate: Session) -> Comparison:
        """Compare the masks of whole images with those that the reference and the published preset give."""
        info, reference = candidate.info, self._reference
        preset = replace(claimed_preset(candidate, self._wanted), stretch=info.preset.stretch)
        meter = ComparisonMeter("mask", logits=False)
        rounding = 0.5 / 255 if _rounds(candidate) else 0
        for images in image_sets(self._photographs, candidate):
            for (name, image), mask in zip(images.items(), _masks(candidate, list(images.values())), strict=True):
                maps = reference.infer(preprocess(image, preset), [reference.info.mask_output])
                wanted = _mask(maps[reference.info.mask_output], preset, image)
                meter.add(name, wanted, np.clip(wanted, mask - rounding, mask + rounding), overlap=True)
        photograph = next(iter(self._photographs.values()))
        for name, hard in hard_images().items():  # stretching a flat map shows noise, so each is compared with itself
            image = fit_image(hard, candidate)
            (alone,) = _masks(candidate, [image])
            other = resize_image(photograph, *image.shape[:2])
            meter.add(f"{name}, in a batch", alone, _masks(candidate, [other, image])[1], overlap=False)
        return meter.comparison()

    def _compare_probe(
        self, probe: Probe, candidate: Session, meters: Mapping[str, ComparisonMeter], mask: ComparisonMeter
    ) -> None:
        """Feed both sides the same tensor; then, for photographs, each side the tensor of its own preset."""
        info, preset = candidate.info, probe.preset
        tensor = preprocess(probe.image, preset)
        wanted = self._memory.setdefault((probe.name, preset), {})
        if missing := [meter.output for meter in meters.values() if meter.output not in wanted]:
            wanted |= self._reference.infer(tensor, missing)
        found = candidate.infer(tensor)
        for name, meter in meters.items():
            meter.add(probe.name, wanted[meter.output], found[name], overlap=not probe.hard)
        if probe.hard:
            return
        own = info.preset.with_size(preset.height, preset.width) if info.preset_stated else preset
        if own != preset:
            found = candidate.infer(preprocess(probe.image, own), [info.mask_output])
        maps = wanted[meters[info.mask_output].output], found[info.mask_output]
        masks = _mask(maps[0], preset, probe.image), _mask(maps[1], own, probe.image)
        mask.add(probe.name, *masks, overlap=True)


def verify_models(
    reference: str | Path,
    candidates: Sequence[str | Path],
    options: VerifyOptions | None = None,
    progress: Callable[[str], None] = lambda _message: None,
) -> tuple[StageParity, ...]:
    """Compare each candidate with the reference; each is a checkpoint or a model file.

    Raise U2NetError if one cannot be opened or run. A difference is not an error: see :attr:`StageParity.passed`.
    """
    options = options or VerifyOptions()
    check_options(options, "the options of the comparison")
    if isinstance(candidates, str | Path):
        raise InputError(f"the candidates are a list of paths; got {candidates!r}")
    assumed = options.preset or PRESETS["reference"]
    gate = ParityGate(open_for_parity(Path(reference), options.device, assumed=assumed), options)
    results = []
    for path in map(Path, candidates):
        progress(f"comparing {path.name}")
        candidate = open_for_parity(path, options.device, backend=options.backend, assumed=assumed)
        results.append(gate.compare(candidate))
    return tuple(results)


def _rounds(candidate: Session) -> bool:
    """Tell whether the candidate gives masks as whole grey levels."""
    return candidate.info.image is not None and candidate.info.image.mask == "uint8"


def _mask(maps: FloatArray, preset: Preset, image: ByteArray) -> FloatArray:
    height, width = image.shape[:2]
    try:
        return postprocess(maps[0], preset, height, width)
    except ArtifactError:  # NaN or Inf: the gate counts them instead of stopping
        return np.full((height, width), np.nan, np.float32)


def _masks(candidate: Session, images: Sequence[ByteArray]) -> list[FloatArray]:
    """Compute the masks of images of one size in as few runs as the network allows; NaN stays in them."""
    step, output = candidate.info.batch_limit or len(images), candidate.info.mask_output

    def run(step: int) -> Array:
        batches = (np.stack(images[start : start + step]) for start in range(0, len(images), step))
        return np.concatenate([candidate.infer(batch, [output])[output] for batch in batches])

    try:
        found = run(step)
    except ProfileError:  # another profile of an engine takes images of this size, one at a time
        found = run(1)
    return list(found / np.float32(255) if found.dtype == np.uint8 else found)


def judge_figures(outputs: Sequence[Comparison], mask: Comparison, tolerance: Tolerance) -> tuple[Failure, ...]:
    """Every figure that is over its limit."""
    limits = [(each, tolerance.largest, tolerance.mean) for each in outputs]
    failures: list[Failure] = []
    for comparison, largest, mean in (*limits, (mask, tolerance.mask_largest, tolerance.mask_mean)):
        spread = comparison.probability
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
