"""Give ``rembg.remove`` our session in place of its own and compare what it returns: ``rembg_drop_in.py MODEL``."""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from rembg import new_session, remove
from skimage import data

from u2net.runtime.rembg import session

LIMIT = 2
"""Largest difference in grey levels: rembg rounds the map down to 8 bit before it resizes, and again after."""

WAYS = {"mask": {"only_mask": True}, "cut-out": {}, "cut-out by alpha": {"putalpha": True}}
"""Arguments of ``remove`` that leave the mask as it is, by what they give."""

CHANGES = (
    {"post_process_mask": True},
    {"alpha_matting": True},
    {"decontaminate": True},
    {"bgcolor": (9, 90, 200, 255)},
)
"""Arguments that make larger differences of small ones: here it counts that they work."""

model = Path(sys.argv[1]).resolve()
theirs = new_session("u2net_custom", model_path=str(model))

pictures = {name: Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")}
pictures["large"] = pictures["astronaut"].resize((2400, 1600))
pictures["palette"] = pictures["coffee"].convert("P")
pictures["transparent"] = pictures["rocket"].copy()
pictures["transparent"].putalpha(90)
# Of these the network's map is not flat: rembg and ours both stretch it.
pictures |= {f"flat {level}": Image.new("RGB", (400, 300), (level,) * 3) for level in (0, 128)}

turned, exif = BytesIO(), Image.Exif()
exif[ExifTags.Base.Orientation] = 6
pictures["chelsea"].save(turned, "JPEG", exif=exif)

with session(model) as ours:
    for name, picture in pictures.items():
        for way, options in WAYS.items():
            expected, found = (
                np.asarray(remove(picture.copy(), session=each, **options), np.int16) for each in (theirs, ours)
            )
            if expected.shape != found.shape or np.ptp(expected) < 128:
                sys.exit(f"{name}: rembg's {way} is {expected.shape}, ours {found.shape}, or rembg's is flat")
            difference = np.abs(expected - found)
            print(f"{name}, {way}: differs by at most {difference.max()}, on average {difference.mean():.2f} levels")
            if difference.max() > LIMIT:
                sys.exit(f"{name}: rembg's {way} and ours differ by {difference.max()}, more than {LIMIT}")
    files = [remove(turned.getvalue(), session=each, only_mask=True) for each in (theirs, ours)]
    expected, found = (np.asarray(Image.open(BytesIO(content)), np.int16) for content in files)
    if expected.shape != (451, 300) or np.abs(expected - found).max() > LIMIT:
        sys.exit(f"the masks of a turned JPEG file differ: {expected.shape}, {found.shape}")
    for changes in CHANGES:
        if remove(pictures["rocket"], session=ours, **changes).size != pictures["rocket"].size:
            sys.exit(f"{changes} does not work with our session")
