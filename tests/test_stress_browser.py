"""The page of a stress test in a browser: what it does with hostile text, and that its controls work."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import stress_rows

from figures.stress_page import write_stress


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models at two strengths, its page written; one pair is made of HTML and script."""
    folder = tmp_path_factory.mktemp("stress")
    stress_rows.write_run(folder, strengths=(0.5, 1.0), hostile=stress_rows.HOSTILE)
    write_stress(folder)
    return folder


def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on the PATH")
    return found


@pytest.mark.integration
def test_a_response_of_html_and_script_is_shown_as_text_in_a_browser(run: Path, tmp_path: Path) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    flags += ["--no-first-run", f"--user-data-dir={tmp_path}", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [chromium(), *flags, (run / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert '<html lang="en" class="scripted">' in done.stdout, done.stderr[-2000:]  # our own script did run
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title
    assert "pwned" not in title[1]
    assert "<img" not in done.stdout
    assert "document.title='pwned'" in done.stdout


@pytest.mark.integration
def test_the_page_sorts_filters_opens_examples_and_prints(run: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900}, color_scheme="light")
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.goto((run / "report.html").as_uri())

        column = page.locator("#table thead th", has_text="change of accuracy")
        values = "rows => rows.filter(row => !row.hidden).map(row => Number(row.querySelector('.plot').dataset.value))"
        for order in ("ascending", "descending"):
            column.locator("button").focus()
            page.keyboard.press("Enter")
            assert column.get_attribute("aria-sort") == order
            found = page.locator("#table tbody tr").evaluate_all(values)
            assert found == sorted(found, reverse=order == "descending")
            assert len(set(found)) > 2
        assert page.locator('#table [aria-sort="none"]').count() == page.locator("#table [aria-sort]").count() - 1

        page.select_option("select[name=model]", "tiny-dpo")
        page.select_option("select[name=transformation]", "typos")
        assert page.locator("#table tbody tr:visible").count() == 2
        assert page.locator("#damage tbody tr:visible").count() == 0
        assert page.locator("#damage .nothing").is_visible()
        assert page.locator(".example:visible").count() == 5
        assert page.locator(".panel:visible").count() == 1
        assert "2 of 20 lines" in page.inner_text("#count")
        page.fill("input[name=search]", "no text has this")
        assert page.locator("#table tbody tr:visible, .example:visible").count() == 0
        assert page.inner_text("#count") == f"0 of 20 lines, 0 of {page.locator('.example').count()} examples"
        page.click("button[type=reset]")
        playwright.expect(page.locator("#table tbody tr:visible")).to_have_count(16)
        assert page.locator(".example:visible").count() == 12
        page.click("#more")
        assert page.locator(".example:visible").count() == page.locator(".example").count() > 40

        first = page.locator(".example").first
        first.locator("summary").focus()
        page.keyboard.press("Enter")
        assert first.locator(".text").first.is_visible()
        link = page.locator("a.to-example").last
        link.focus()
        page.keyboard.press("Enter")
        target = page.locator(link.get_attribute("href"))
        assert target.get_attribute("open") is not None
        assert target.locator("summary").evaluate("part => part === document.activeElement")
        outline = target.locator("summary").evaluate("part => getComputedStyle(part).outlineStyle")
        assert outline == "solid"

        paper = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(paper)
        page.click("#theme")
        assert page.evaluate(paper) != light
        page.emulate_media(media="print")
        assert page.evaluate(paper) == "rgb(255, 255, 255)"
        assert not page.locator("#filters").is_visible()
        assert not page.locator(".more").first.is_visible()  # closed: printed only where a reader has opened it
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")

        page.emulate_media(media="screen", color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert errors == []
        assert asked == [(run / "report.html").as_uri()]
        browser.close()
