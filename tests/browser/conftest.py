import os
import shutil

import pytest

from overlap_analysis.report import render_report
from synthetic_report import HOSTILE_NAMES, make_report

SIZES = {5: (60, None), 500: (5000, 1500), 2000: (300, 60)}


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests."""
    path = shutil.which("chromium")
    if path is None:
        message = "chromium is not installed: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report_of(tmp_path_factory):
    """Data and file of a report by how many variants it has, or a report of hostile names."""
    made = {}

    def make(size):
        if size not in made:
            if size == "hostile":
                data = make_report(len(HOSTILE_NAMES), names=list(HOSTILE_NAMES), examples=60)
            else:
                examples, sampled = SIZES[size]
                data = make_report(size, steps=5, examples=examples, sampled=sampled)
            path = tmp_path_factory.mktemp("report") / f"{size}.html"
            path.write_text(render_report(data))
            made[size] = data, path
        return made[size]

    return make


@pytest.fixture
def opened(chromium, report_of):
    """Opens a report; at the end the page has neither logged, failed nor asked for anything but its file."""
    pages, complaints = [], []

    def open_report(size, **options):
        data, path = report_of(size)
        page = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", **options)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _expect(request.url, path, complaints))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        pages.append(page)
        return data, page

    yield open_report
    for page in pages:
        page.close()
    assert complaints == []


def _expect(url, path, complaints):
    if url != path.as_uri() and not url.startswith("data:image/"):
        complaints.append(f"asked for {url}")
