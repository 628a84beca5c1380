"""Devices by name: ``cpu``, ``cuda``, ``cuda:N``."""

import re
from dataclasses import dataclass
from typing import Literal

from u2net.runtime.errors import InputError


@dataclass(frozen=True)
class Device:
    """Device to run on. The index counts CUDA devices and is 0 for the processor."""

    kind: Literal["cpu", "cuda"]
    index: int = 0

    @classmethod
    def parse(cls, name: str) -> "Device":
        """Read a device's name. Raise InputError for any other name."""
        if name == "cpu":
            return cls("cpu")
        match = re.fullmatch(r"cuda(?::([0-9]{1,4}))?", name)
        if match is None:
            raise InputError(f"there is no device {name!r}; a device is cpu, cuda or cuda:N")
        return cls("cuda", int(match[1] or 0))

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"


CPU, CUDA = Device("cpu"), Device("cuda")
