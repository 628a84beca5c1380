"""The weights that the package carries; README.md beside this file says how they came to be."""

from pathlib import Path

BUNDLED_WEIGHTS = Path(__file__).with_name("u2netp.safetensors")
"""U2NETP, one output channel, safetensors in FP16."""
