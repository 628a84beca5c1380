"""What the contestants are fed: photographs where there are any, and synthetic scenes."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from u2net.benchmarks.gpu.arrays import write_array
from u2net.model.synthetic import make_scenes
from u2net.runtime.errors import InputError
from u2net.runtime.images import find_images, read_image
from u2net.runtime.preprocess import FloatArray, preprocess_batch
from u2net.runtime.presets import PRESETS

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photographs.py"
PHOTOGRAPHS, SCENES = "photographs", "scenes"
SCENE_COUNT = 8
PRESET = PRESETS["reference"]
EXAMPLE_SECONDS = 120


@dataclass(frozen=True)
class Pictures:
    """Sets of pictures as the network takes them, written to ``<set>.npz`` in the work folder."""

    sets: Mapping[str, FloatArray]
    """float32 P×3×size×size by name."""
    folder: Path | None
    """Of the photographs; None where there are none."""
    judged: str
    """The set that parity is judged on."""
    note: str
    """What they are, and why there are no photographs where there are none."""

    def batch(self, count: int) -> FloatArray:
        """An input of that batch size; different pictures, as long as they last."""
        everything = np.concatenate(list(self.sets.values()))
        return np.resize(everything, (count, *everything.shape[1:]))


def gather_pictures(folder: Path | None, size: int, work: Path) -> Pictures:
    """Read the photographs of a folder, or else scikit-image's, and draw the scenes.

    Raises:
        InputError: the folder was named and cannot be used.
    """
    preset = PRESET.with_size(size, size)
    sets: dict[str, FloatArray] = {}
    source = folder or work / PHOTOGRAPHS
    reason = "" if folder else _write_examples(source)
    if not reason:
        paths = find_images(source)
        sets[PHOTOGRAPHS] = preprocess_batch([read_image(path) for path in paths], preset)
        origin = f"of {folder.name}" if folder else "that scikit-image carries"
        note = f"{len(paths)} photographs {origin} ({', '.join(path.stem for path in paths)})"
    else:
        note = f"no photographs, because {reason}"
    sets[SCENES] = preprocess_batch(make_scenes(SCENE_COUNT), preset)
    note += f"; {SCENE_COUNT} seeded synthetic scenes"
    for name, array in sets.items():
        write_array(work / f"{name}.npz", array)
    return Pictures(sets, None if reason else source, next(iter(sets)), note)


def _write_examples(folder: Path) -> str:
    """Let the example write scikit-image's photographs; why not, where it cannot."""
    if not EXAMPLE.is_file():
        return "examples/photographs.py is not there"
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(EXAMPLE), str(folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=EXAMPLE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"examples/photographs.py took more than {EXAMPLE_SECONDS} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["examples/photographs.py failed"])[-1]
    try:
        find_images(folder)
    except InputError as error:
        return str(error)
    return ""
