"""The pages of a build and of the suite in a real browser; covers benchmarks/page.html."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

PHONE, DESK = 390, 1280
SCHEMES = ("light", "dark")


@pytest.fixture(params=["build", "suite"])
def file(request: pytest.FixtureRequest) -> Path:
    fixture, name = {"build": ("built", "report.html"), "suite": ("suite_run", "page.html")}[request.param]
    done: Run = request.getfixturevalue(fixture)
    return done[0] / name


def open_page(browser: Any, file: Path, width: int, scheme: str) -> Any:
    """Open a file; requests and errors are kept in ``page.troubles``."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.troubles = []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("request", lambda request: page.troubles.append(request.url))
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_page_is_whole_and_asks_for_nothing_else(browser: Any, file: Path, width: int, scheme: str) -> None:
    page = open_page(browser, file, width, scheme)

    assert [each for each in page.troubles if not each.startswith("data:")] == [file.as_uri()]
    assert file.stat().st_size < 3e6
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert len(widths) >= 6 and min(widths) > 50
    assert page.locator("svg").count() > 0
    for text in page.locator("svg text").all()[:50]:
        assert text.evaluate("e => getComputedStyle(e).fill") == page.evaluate("getComputedStyle(document.body).color")


def test_the_schemes_differ_in_ground_and_ink(browser: Any, file: Path) -> None:
    look = "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"

    (ink, ground), dark = (open_page(browser, file, DESK, scheme).evaluate(look) for scheme in SCHEMES)

    assert ink != ground and ink != dark[0] and ground != dark[1]


def test_the_table_sorts_by_a_heading_and_by_the_keyboard(browser: Any, suite_run: Any) -> None:
    page = open_page(browser, suite_run[0] / "page.html", DESK, "light")
    heading = page.locator("th", has_text="images/s").first
    cells = "[...document.querySelector('tbody').rows].map(r => parseFloat(r.cells[4]?.textContent))"

    heading.locator("button").click()
    rising = page.evaluate(cells)
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    falling = page.evaluate(cells)

    assert rising[:-1] == sorted(rising[:-1]) and falling[:-1] == rising[:-1][::-1]
    assert len(set(rising[:-1])) > 1
    assert page.locator("tbody").first.locator("tr").last.inner_text().startswith("rembg's session")


def test_a_tab_shows_its_own_photograph(browser: Any, suite_run: Any) -> None:
    page = open_page(browser, suite_run[0] / "page.html", PHONE, "light")
    shown = page.locator("[role=tabpanel]:visible")
    tabs = page.locator("[role=tab]")
    before = shown.locator("img").first.get_attribute("src")

    tabs.nth(1).click()
    clicked = shown.locator("img").first.get_attribute("src")
    page.keyboard.press("ArrowLeft")

    assert shown.count() == 1 and tabs.count() == 3
    assert clicked != before == shown.locator("img").first.get_attribute("src")
    assert tabs.first.get_attribute("aria-selected") == "true"
    assert shown.locator("figure").count() == 3  # the photograph and two contestants; one did not run
