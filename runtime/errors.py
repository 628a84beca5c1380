"""Every error this package raises on purpose.

::

    U2NetError
    ├── InputError            an image, tensor or option value that cannot be used (also a ValueError)
    │   └── ProfileError          a tensor of a shape that the engine was not built for
    ├── CheckpointError       a file that is not a U²-Net checkpoint, or not a whole one
    ├── DatasetError          a folder of photographs and masks that cannot be used
    ├── TrainingError         training cannot start or continue
    ├── ExportError           a stage cannot write what was asked for
    │   └── EngineBuildError      TensorRT cannot parse or build
    ├── ArtifactError         a model file that the runtime cannot load
    │   ├── EngineDamagedError    an engine that is truncated, altered or not an engine
    │   └── EngineStaleError      an engine that must be rebuilt for this machine
    │       ├── EngineVersionError    built by another version of TensorRT
    │       └── EngineGpuError        built for another GPU
    ├── DeviceError           the device or provider asked for is not there
    │   ├── DriverMissingError    there is no NVIDIA driver
    │   ├── DriverTooOldError     the driver is older than the CUDA packages need
    │   └── OutOfMemoryError      memory ran out
    ├── DependencyError       a package of an optional extra is missing (also an ImportError)
    └── SessionClosedError    a session was used after close()

A message says what failed, what was found, what was expected and how to fix it.
"""


class U2NetError(Exception):
    """Root of all errors raised on purpose."""


class InputError(U2NetError, ValueError):
    """An image, tensor or option value that cannot be used."""


class ProfileError(InputError):
    """A tensor of a shape that the engine was not built for."""


class CheckpointError(U2NetError):
    """A file that is not a U²-Net checkpoint, or not a whole one."""


class DatasetError(U2NetError):
    """A folder of photographs and masks that cannot be used."""


class TrainingError(U2NetError):
    """Training cannot start or continue."""


class ExportError(U2NetError):
    """A stage cannot write what was asked for."""


class EngineBuildError(ExportError):
    """TensorRT cannot parse a graph or build an engine from it."""


class ArtifactError(U2NetError):
    """A model file that the runtime cannot load."""


class EngineDamagedError(ArtifactError):
    """An engine that is truncated, altered or not an engine."""


class EngineStaleError(ArtifactError):
    """An engine that is whole but must be rebuilt for this machine."""


class EngineVersionError(EngineStaleError):
    """An engine built by another version of TensorRT."""


class EngineGpuError(EngineStaleError):
    """An engine built for another GPU."""


class DeviceError(U2NetError):
    """The device or provider asked for is not there."""


class DriverMissingError(DeviceError):
    """There is no NVIDIA driver."""


class DriverTooOldError(DeviceError):
    """The NVIDIA driver is older than the CUDA packages need."""


class OutOfMemoryError(DeviceError):
    """Memory ran out, in most cases the GPU's."""


NO_MEMORY_WORDS = (
    "out of memory",
    "outofmemory",
    "failed to allocate",
    "could not allocate",
    "alloc_failed",
    "bad_alloc",
    "smaller than requested bytes",
)
"""How ONNX Runtime, OpenVINO, TensorRT, CUDA and C++ say, in lower case, that memory ran out."""

MEMORY_ADVICE = "use a smaller batch or size, fewer contexts, or stop other programs"
"""What to do when a backend ran out of memory."""


def means_no_memory(said: str) -> bool:
    """Tell whether a library's message says that memory ran out."""
    return any(words in said.lower() for words in NO_MEMORY_WORDS)


class DependencyError(U2NetError, ImportError):
    """A package of an optional extra is missing."""

    def __init__(self, package: str, *extras: str, found: str = "is not installed") -> None:
        commands = " or ".join(f"`pip install 'u2net-deploy[{extra}]'`" for extra in extras)
        super().__init__(f"{package} {found}; {commands} installs it")


class SessionClosedError(U2NetError):
    """A session was used after close()."""
