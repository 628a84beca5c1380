"""This machine's paths, taken out of texts that are published."""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from u2net.benchmarks.gpu.suite import ROOT


def make_scrubber(work: Path, pythons: Iterable[str]) -> Callable[[str], str]:
    """A function that writes a word for each folder of this machine that a message may name."""
    folders = [(work.resolve(), "<work>"), (ROOT, "<tree>"), (Path(tempfile.gettempdir()), "<tmp>")]
    folders += [(Path(sys.prefix), "<python>"), (Path(sys.base_prefix), "<python>"), (Path.home(), "~")]
    folders += [(Path(python).parent, "<python>") for python in pythons if Path(python).is_absolute()]
    names = {str(folder): word for folder, word in reversed(folders) if len(folder.parts) > 1}
    ordered = sorted(names.items(), key=lambda each: len(each[0]), reverse=True)

    def scrub(text: str) -> str:
        for folder, word in ordered:
            text = text.replace(folder, word)
        return text

    return scrub
