"""TensorRT's logger: errors are kept for the exception, warnings go to Python's logging."""

import logging
from typing import Any, Protocol

from u2net.runtime.trt.api import TensorRT

log = logging.getLogger("u2net.tensorrt")


MEMORY_WORDS = ("out of memory", "outofmemory")
"""How TensorRT words, in lower case, that memory ran out."""


class MessageLog(Protocol):
    """What TensorRT takes for a logger."""

    errors: list[str]

    def drain(self) -> str:
        """The errors since the last call, as one text."""


def make_logger(trt: TensorRT) -> Any:
    """A logger for TensorRT that is a :class:`MessageLog` too; keep it as long as anything made with it."""
    severity = trt.ILogger.Severity
    serious = (severity.INTERNAL_ERROR, severity.ERROR)

    class CollectingLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if level in serious:
                self.errors.append(message)
            elif level == severity.WARNING:
                log.warning("%s", message)
            else:
                log.debug("%s", message)

        def drain(self) -> str:
            text, self.errors = "\n".join(self.errors), []
            return text

    return CollectingLogger()
