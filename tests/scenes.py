"""Data sets of synthetic scenes."""

from pathlib import Path

from u2net.model.synthetic import make_scene
from u2net.runtime.images import write_image


def write_scenes(folder: Path, count: int, *, seed: int = 0, size: int = 320) -> None:
    """Write scenes as a data set: ``images/0000.png``, ``masks/0000.png`` and so on."""
    for side in ("images", "masks"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, mask = make_scene(seed + index, size, size)
        write_image(folder / "images" / f"{index:04}.png", image)
        write_image(folder / "masks" / f"{index:04}.png", mask)
