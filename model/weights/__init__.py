"""Weights bundled with the package; README.md beside this file describes them."""

from pathlib import Path

BUNDLED_WEIGHTS = Path(__file__).with_name("u2netp.safetensors")
"""U2NETP, one output channel, safetensors in FP16."""
