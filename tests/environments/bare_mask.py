"""Run one mask through the installed wheel where neither torch nor onnx is installed: ``bare_mask.py MODEL``."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

import u2net.runtime as u2

for module in ("torch", "onnx", "typer"):
    if importlib.util.find_spec(module) is not None:
        sys.exit(f"{module} is installed: this environment is not bare")

ramp = np.linspace(0, 255, 240 * 320, dtype=np.uint8).reshape(240, 320)
with u2.load(Path(sys.argv[1])) as session:
    mask = session(ramp)
    provider = session.info.provider
if mask.shape != ramp.shape or mask.dtype != np.float32 or not np.isfinite(mask).all() or np.ptp(mask) == 0:
    sys.exit(f"the mask is wrong: {mask.dtype} {mask.shape}, from {mask.min()} to {mask.max()}")
print(f"mask {mask.shape} from {mask.min():.3f} to {mask.max():.3f} on {provider}, without torch and onnx")
