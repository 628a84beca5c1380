"""The memory of a process that computes in eager PyTorch."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From glibc's malloc.h."""
LARGEST = 2**31 - 1
"""Bytes, of an int."""


def keep_freed_memory() -> None:
    """Have glibc keep what tensors free for the next ones; does nothing where there is no glibc.

    By default it hands large blocks back to the kernel, so each layer's maps come as new pages, which the kernel finds
    and clears one by one: a fifth of the time of a step that trains the inner stages at 320 px on two cores. A
    command's own process may keep them; a library must not decide that for its caller.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, LARGEST)
