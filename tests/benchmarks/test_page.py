"""Covers benchmarks/page.py and benchmarks/plots.py."""

import pytest

from u2net.benchmarks.page import NONE, Figure, Page, Section
from u2net.benchmarks.plots import INK, LINE, plot_bars, plot_lines, plot_points
from u2net.benchmarks.statistics import Ratio

EVIL = "<script>alert(1)</script> \"'&"
BARS = {"a": {"2×": Ratio(2, 1.9, 2.2)}, "b <i>": {"1×": Ratio(1, 1, 1), "3×": Ratio(3, 2.9, 3.1)}}


def page(*sections: Section) -> Page:
    return Page("title", "verdict", (), sections)


def test_what_comes_from_outside_is_escaped() -> None:
    evil = Section(EVIL, EVIL, ((EVIL,), [(EVIL,)]), [EVIL], EVIL, {EVIL: ""}, {EVIL: [Figure(EVIL, {EVIL: EVIL})]})

    text = Page(EVIL, EVIL, [EVIL], [evil, evil]).html()

    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt; &#34;&#39;&amp;") > 20


def test_backticks_mark_code() -> None:
    assert "<p>see <code>a&lt;b</code></p>" in page(Section("one", "see `a<b`", notes=["x"])).html()


def test_sections_without_anything_to_show_are_left_out() -> None:
    report = page(Section("empty", "words", (("a",), [])), Section("drawn", "words", plots={"plot": "<svg/>"}))

    assert "## " not in report.markdown()
    assert ">drawn<" in report.html() and ">empty<" not in report.html()


def test_words_take_the_columns_of_the_figures_that_are_missing() -> None:
    why = "not here: it needs a Python of its own"
    text = page(Section("one", table=(("who", "ms", "IoU"), [("a", "1", NONE), ("b", why, NONE)]))).html()

    assert f'<td colspan="2" class="words">{why}</td>' in text
    assert text.count(f"<td>{NONE}</td>") == 1


@pytest.mark.parametrize(
    "svg",
    [
        plot_bars(BARS, "times"),
        plot_points({"a": (1e-4, 2.0), "$b^$ <i>": (0.0, 1.0)}, "difference", "speed"),
        plot_lines({"$b^$ <i>": [(1, 5.0), (2, 6.0)]}, {"$b^$ <i>": 2}, "callers", "images/s"),
    ],
)
def test_a_plot_takes_its_colours_from_the_page_and_its_text_as_it_is(svg: str) -> None:
    assert svg.startswith("<svg") and "currentColor" in svg and "var(--line)" in svg
    assert INK not in svg and LINE not in svg and "<i>" not in svg and "&lt;i&gt;" in svg


def test_a_missing_matplotlib_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("u2net.benchmarks.plots.find_spec", lambda _name: None)

    text = page(Section("one", plots={"plot": plot_bars(BARS, "times")})).html()

    assert "Not here, because matplotlib is not installed" in text
