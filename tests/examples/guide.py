"""The code in docs/EMBEDDING.md, which the tests run as it stands there."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "EMBEDDING.md"


def read_code(language: str) -> str:
    """Return the block of a language, of under 25 lines."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert code.count("\n") < 25
    return str(code)
