"""Text that does a terminal no harm."""

import sys
from io import TextIOWrapper


def printable(text: str) -> str:
    """A text without what could steer a terminal: what a file says of itself is not to be trusted."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def write_any_text() -> None:
    """Have standard output and error spell out what their encoding lacks, as some file names do, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
