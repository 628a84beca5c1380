"""Every error this package raises on purpose.

::

    U2NetError
    ├── InputError            an image, tensor or option value that cannot be used (also a ValueError)
    │   └── ProfileError          a tensor that an engine was not built for
    ├── CheckpointError       a file that is not a U²-Net checkpoint, or not a whole one
    ├── DatasetError          a training folder that cannot be used
    ├── TrainingError         training cannot start or go on
    ├── ExportError           a stage cannot write what was asked for
    │   └── EngineBuildError      TensorRT cannot parse or build
    ├── ArtifactError         a model file that the runtime cannot load
    │   ├── EngineDamagedError    an engine that is truncated, altered or no engine
    │   └── EngineStaleError      an engine that has to be built again here
    │       ├── EngineVersionError    it was built by another TensorRT
    │       └── EngineGpuError        it was built for another GPU
    ├── DeviceError           the device or provider asked for is not there
    │   ├── DriverMissingError    there is no NVIDIA driver
    │   ├── DriverTooOldError     it is older than the CUDA packages need
    │   └── OutOfMemoryError      GPU memory ran out
    ├── DependencyError       a package of an optional extra is missing (also an ImportError)
    └── SessionClosedError    a session was used after close()

A message says what failed, what was found, what was expected and how to mend it.
"""


class U2NetError(Exception):
    """Root of all errors raised on purpose."""


class InputError(U2NetError, ValueError):
    """An image, tensor or option value that cannot be used."""


class ProfileError(InputError):
    """A tensor that an engine was not built for."""


class CheckpointError(U2NetError):
    """A file that is not a U²-Net checkpoint, or not a whole one."""


class DatasetError(U2NetError):
    """A training folder that cannot be used."""


class TrainingError(U2NetError):
    """Training cannot start or go on."""


class ExportError(U2NetError):
    """A stage cannot write what was asked for."""


class EngineBuildError(ExportError):
    """TensorRT cannot parse a graph or build an engine from it."""


class ArtifactError(U2NetError):
    """A model file that the runtime cannot load."""


class EngineDamagedError(ArtifactError):
    """An engine that is truncated, altered or no engine at all."""


class EngineStaleError(ArtifactError):
    """An engine that was whole once and has to be built again here."""


class EngineVersionError(EngineStaleError):
    """An engine that another TensorRT built."""


class EngineGpuError(EngineStaleError):
    """An engine that was built for another GPU."""


class DeviceError(U2NetError):
    """The device or provider asked for is not there."""


class DriverMissingError(DeviceError):
    """There is no NVIDIA driver."""


class DriverTooOldError(DeviceError):
    """The NVIDIA driver is older than the CUDA packages need."""


class OutOfMemoryError(DeviceError):
    """GPU memory ran out."""


class DependencyError(U2NetError, ImportError):
    """A package of an optional extra is missing."""

    def __init__(self, package: str, extra: str, found: str = "is not installed") -> None:
        super().__init__(f"{package} {found}; `pip install 'u2net-deploy[{extra}]'` brings it")
        self.package = package
        self.extra = extra


class SessionClosedError(U2NetError):
    """A session was used after close()."""
