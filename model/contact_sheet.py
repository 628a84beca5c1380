"""Contact sheet: the pictures with the worst scores beside their masks."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from u2net.model.dataset import read_mask
from u2net.model.evaluation import PictureScore
from u2net.runtime.images import read_image, write_image
from u2net.runtime.postprocess import to_grey
from u2net.runtime.preprocess import ByteArray, FloatArray

CELL = 200
"""Side of the square that each picture is fitted into, in pixels."""
CAPTION = 16
"""Height of the line above a row, in pixels."""


def draw_contact_sheet(worst: Sequence[PictureScore], predict: Callable[[ByteArray], FloatArray], path: Path) -> None:
    """Write a PNG with one row for each picture: photograph, true mask, predicted mask.

    Raise InputError if the file cannot be written or a picture cannot be read.
    """
    sheet = Image.new("RGB", (3 * CELL, len(worst) * (CELL + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, score in enumerate(worst):
        top = row * (CELL + CAPTION)
        pen.text((2, top + 2), f"{score.pair.image.stem}: MAE {score.mae:.3f}; picture, truth, mask", fill="black")
        image = read_image(score.pair.image)
        for column, pixels in enumerate((image, read_mask(score.pair), to_grey(predict(image)))):
            picture = Image.fromarray(pixels).convert("RGB")
            picture.thumbnail((CELL, CELL))
            left, above = (CELL - picture.width) // 2, (CELL - picture.height) // 2
            sheet.paste(picture, (column * CELL + left, top + CAPTION + above))
    write_image(path, sheet)
