"""Load an artifact; image in, mask out. Needs neither torch nor onnx.

::

    import u2net.runtime as u2

    with u2.load("u2netp.onnx") as session:
        mask = session(image)
"""

import os

from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.errors import (
    ArtifactError,
    CheckpointError,
    DatasetError,
    DependencyError,
    DeviceError,
    DriverMissingError,
    DriverTooOldError,
    EngineBuildError,
    EngineDamagedError,
    EngineGpuError,
    EngineStaleError,
    EngineVersionError,
    ExportError,
    InputError,
    OutOfMemoryError,
    ProfileError,
    SessionClosedError,
    TrainingError,
    U2NetError,
)
from u2net.runtime.images import read_image, write_image
from u2net.runtime.loading import load
from u2net.runtime.postprocess import cut_out, to_grey
from u2net.runtime.preprocess import preprocess_batch
from u2net.runtime.presets import PRESETS, Preset
from u2net.runtime.session import Session, SessionInfo

# From 1.29 on ONNX Runtime reports processes, models and runs to Microsoft. Only this, read on import, stops all
# of that; backends also turn it off in an ONNX Runtime that was imported before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "PRESETS",
    "Artifact",
    "ArtifactError",
    "CheckpointError",
    "DatasetError",
    "DependencyError",
    "DeviceError",
    "DriverMissingError",
    "DriverTooOldError",
    "EngineBuildError",
    "EngineDamagedError",
    "EngineGpuError",
    "EngineStaleError",
    "EngineVersionError",
    "ExportError",
    "InputError",
    "InputShape",
    "OutOfMemoryError",
    "Preset",
    "ProfileError",
    "Session",
    "SessionClosedError",
    "SessionInfo",
    "TrainingError",
    "U2NetError",
    "cut_out",
    "load",
    "preprocess_batch",
    "read_image",
    "to_grey",
    "write_image",
]
