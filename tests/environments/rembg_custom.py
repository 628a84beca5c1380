"""Open an exported file in rembg's ``u2net_custom`` session and compare masks with ours: ``rembg_custom.py MODEL``."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rembg import new_session, remove
from skimage import data

import u2net.runtime as u2

LIMIT = 2
"""Largest difference in grey levels: rembg rounds the map down to 8 bit before it resizes, and again after."""

model = Path(sys.argv[1]).resolve()
session = new_session("u2net_custom", model_path=str(model))
ours = u2.load(model, preset="rembg")
for name in ("astronaut", "chelsea", "coffee", "rocket"):
    image = getattr(data, name)()
    theirs = np.asarray(remove(Image.fromarray(image), session=session, only_mask=True), dtype=np.int16)
    difference = int(np.abs(theirs - u2.to_grey(ours(image))).max())
    print(f"{name}: masks differ by at most {difference} grey levels")
    if difference > LIMIT or np.ptp(theirs) < 128:
        sys.exit(f"{name}: rembg's mask and ours differ by {difference}, more than {LIMIT}, or it is flat")
