"""Write the public-domain photographs that scikit-image carries into a folder: ``photographs.py FOLDER``."""

import sys
from pathlib import Path

from PIL import Image
from skimage import data

NAMES = ("astronaut", "chelsea", "coffee", "rocket")

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name in NAMES:
    Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
print(f"{len(NAMES)} photographs in {folder}")
