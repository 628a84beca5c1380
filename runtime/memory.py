"""Memory of a process that works on large arrays."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameter numbers from glibc's malloc.h."""
INT_MAX = 2**31 - 1
"""Largest value of a C int, in bytes here."""


def keep_freed_memory() -> None:
    """Make glibc keep freed blocks for the next arrays; without glibc this does nothing.

    By default glibc returns large blocks to the kernel, so each picture and the maps of each layer in eager PyTorch get
    new pages, which the kernel must find and clear. At 320×320 on two cores this is a quarter of eager U2NETP's time at
    batch 1, two fifths at batch 4. Only commands and the processes of a benchmark call this; a library must not decide
    it for its caller.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, INT_MAX)
        mallopt(M_TRIM_THRESHOLD, INT_MAX)
