"""TensorRT's logger: errors are collected for the exception, warnings go to Python's logging."""

import logging
from typing import Any

from u2net.runtime.trt.api import TensorRTModule

trt_log = logging.getLogger("u2net.tensorrt")


def make_logger(trt: TensorRTModule) -> Any:
    """A logger for TensorRT that must outlive every object made with it; ``drain()`` returns and clears its errors."""
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
                trt_log.warning("%s", message)
            else:
                trt_log.debug("%s", message)

        def drain(self) -> str:
            text, self.errors = "\n".join(self.errors), []
            return text

    return CollectingLogger()
