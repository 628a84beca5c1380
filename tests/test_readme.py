"""Covers docs/figures.py and README.md."""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def figures() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_those_of_the_results(figures: ModuleType) -> None:
    assert figures.fill(README) == README


def test_other_results_give_other_figures(figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("suite.json", "h200-u2netp.json", "h200-u2net.json", "duts-te-1000.json"):
        shutil.copy(figures.RESULTS / name, tmp_path)
    scores = json.loads((tmp_path / "duts-te-1000.json").read_text(encoding="utf-8"))
    scores["scores"]["centred Gaussian"]["mae"] = 0.123
    (tmp_path / "duts-te-1000.json").write_text(json.dumps(scores), encoding="utf-8")
    monkeypatch.setattr(figures, "RESULTS", tmp_path)

    changed = figures.fill(README)

    assert "0.123" not in README and "0.123" in changed
    with pytest.raises(ValueError, match="README has 0 blocks between <!-- suite -->"):
        figures.fill("no block")


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
