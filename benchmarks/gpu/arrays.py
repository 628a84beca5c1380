"""Arrays that go between the check and its workers: one float32 array a file."""

from pathlib import Path

import numpy as np

from u2net.runtime.preprocess import FloatArray


def write_array(path: Path, array: FloatArray) -> None:
    """Write an .npz that holds ``array``."""
    np.savez(path, array=array)


def read_array(path: Path) -> FloatArray:
    """Undo :func:`write_array`; contiguous."""
    with np.load(path) as arrays:
        return np.ascontiguousarray(arrays["array"], np.float32)
