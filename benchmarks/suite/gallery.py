"""Photographs with each contestant's mask, cut-out and differences."""

import numpy as np
from PIL import Image, ImageOps

from u2net.benchmarks.page import Figure, picture_uri
from u2net.benchmarks.suite.contestants import EAGER, EXACT
from u2net.benchmarks.suite.suite import SuiteReport
from u2net.runtime.postprocess import cut_out, to_grey
from u2net.runtime.preprocess import ByteArray, FloatArray

FAINTEST = 1e-4
"""Difference that is drawn black; 1 is drawn white."""

GALLERY_TEXT = (
    f"Differences from eager FP32 are on a logarithmic scale: black up to {FAINTEST}, then red, and white at 1."
)


def show_maps(report: SuiteReport) -> dict[str, list[Figure]]:
    """Return a tab for each network and photograph: the photograph, then everybody's pictures of it."""
    found = {}
    for network in report.options.networks:
        maps = {row.contestant.key: row.maps for row in report.rows if row.network == network and row.maps is not None}
        titles = {row.contestant.key: row.contestant.title for row in report.rows}
        reference = maps.get(EXACT, maps.get(EAGER))
        if reference is None:
            continue
        for index, photograph in enumerate(report.shown):
            first = Figure("photograph", {"": picture_uri(Image.fromarray(photograph).convert("RGB"))})
            figures = [
                _show(titles[key], each[index, 0], reference[index, 0], photograph) for key, each in maps.items()
            ]
            found[f"{network}, photograph {index + 1}"] = [first, *figures]
    return found


def _show(title: str, plane: FloatArray, wanted: FloatArray, photograph: ByteArray) -> Figure:
    height, width = photograph.shape[:2]
    plane = np.nan_to_num(plane)
    mask = np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
    heat = 1 - np.log10(np.abs(plane - wanted).clip(FAINTEST, 1)) / np.log10(FAINTEST)
    differences = Image.fromarray(to_grey(heat)).resize((width, height))
    return Figure(
        title,
        {
            "mask": picture_uri(Image.fromarray(to_grey(mask))),
            "cut-out": picture_uri(Image.fromarray(cut_out(photograph, mask))),
            "differences": picture_uri(ImageOps.colorize(differences, "black", "white", mid="#d9412b")),
        },
    )
