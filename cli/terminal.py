"""Text that is safe to print on a terminal."""

import sys
from io import TextIOWrapper


def printable(text: str) -> str:
    """Replace control characters: text from a file is untrusted and could steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def write_any_text() -> None:
    """Make stdout and stderr escape characters that their encoding lacks, as in some file names, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
