"""Sessions for users of rembg: ``rembg.remove`` takes them in place of its own.

::

    from rembg import remove
    from u2net.runtime.rembg import session

    cutout = remove(image, session=session("u2netp.engine", device="cuda"))

rembg is not imported here: all that ``remove`` does with a session is call its ``predict``.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from u2net.runtime.device import Device
from u2net.runtime.loading import load
from u2net.runtime.postprocess import to_grey
from u2net.runtime.presets import Preset
from u2net.runtime.session import Session


class RembgDropIn:
    """A session as ``rembg.remove`` calls it; safe to call from many threads."""

    def __init__(self, network: Session) -> None:
        self.network = network
        """The session that computes the masks: what runs, and on what, is in its ``info``."""

    def predict(self, image: Image.Image, *_args: object, **_options: object) -> list[Image.Image]:
        """Return the mask of a picture as one Pillow picture of mode L and of the same size.

        Like rembg, take the pixels as they are: an embedded colour profile is not applied. ``remove`` has turned the
        picture upright. It passes on all arguments that it does not know itself; they are ignored.
        """
        return [Image.fromarray(to_grey(self.network(np.asarray(image.convert("RGB")))))]

    def close(self) -> None:
        """Release the network; see :meth:`Session.close`."""
        self.network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def session(
    path: str | Path, device: str | Device = "cpu", *, preset: str | Preset | None = "rembg", **options: Any
) -> RembgDropIn:
    """Load a model file for ``rembg.remove(image, session=…)``.

    On the same weights in FP32 at 320×320, masks are rembg's own within 2 of 255 grey levels on every photograph tried;
    the rest is rounding, because rembg rounds the map to grey levels before it resizes it. One case differs on purpose:
    a map whose values span at most 1/255 shows no object and is not stretched, where rembg stretches noise to a full
    mask, or divides by zero if all values are equal.

    Args:
        path: ``.onnx`` or a TensorRT engine, anywhere; rembg itself opens only ONNX files in its home folder.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        preset: preprocessing contract. The default is rembg's, whatever the file states, so that the masks are rembg's;
            None takes the file's own, which is right for networks that rembg does not preprocess for, such as
            ``cloth`` and ``portrait``, and needed for a file that takes images, whose preset is built in.
        options: further options of :func:`u2net.runtime.load`: ``backend``, ``threads``, ``contexts`` …

    Errors are those of :func:`u2net.runtime.load`.
    """
    return RembgDropIn(load(path, device, preset=preset, **options))
