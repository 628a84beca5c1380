"""Every error this package raises on purpose.

::

    U2NetError
    ├── InputError            an image, tensor or option value that cannot be used (also a ValueError)
    ├── CheckpointError       a file that is not a U²-Net checkpoint, or not a whole one
    ├── DatasetError          a training folder that cannot be used
    ├── TrainingError         training cannot start or go on
    ├── ExportError           a stage cannot write what was asked for
    ├── ArtifactError         a model file that the runtime cannot load
    ├── DeviceError           the device or provider asked for is not there
    ├── DependencyError       a package of an optional extra is missing (also an ImportError)
    └── SessionClosedError    a session was used after close()

A message says what failed, what was found, what was expected and how to mend it.
"""


class U2NetError(Exception):
    """Root of all errors raised on purpose."""


class InputError(U2NetError, ValueError):
    """An image, tensor or option value that cannot be used."""


class CheckpointError(U2NetError):
    """A file that is not a U²-Net checkpoint, or not a whole one."""


class DatasetError(U2NetError):
    """A training folder that cannot be used."""


class TrainingError(U2NetError):
    """Training cannot start or go on."""


class ExportError(U2NetError):
    """A stage cannot write what was asked for."""


class ArtifactError(U2NetError):
    """A model file that the runtime cannot load."""


class DeviceError(U2NetError):
    """The device or provider asked for is not there."""


class DependencyError(U2NetError, ImportError):
    """A package of an optional extra is missing."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; `pip install 'u2net-deploy[{extra}]'` brings it")
        self.package = package
        self.extra = extra


class SessionClosedError(U2NetError):
    """A session was used after close()."""
