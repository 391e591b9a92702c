"""What a person sees: the report and the Dagster UI in a real browser. Needs Debian's Chromium (`make test-system`)."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.orchestration.conftest import Road

pytestmark = pytest.mark.system
PORT = 3119


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed; `make test-system` installs it"
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*flags, "--disable-sync", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 480])
def test_the_report_fits_the_window_and_asks_the_network_for_nothing(edu_road: Road, browser, width: int):
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((edu_road.root / "artifacts" / "report" / "index.html").as_uri())
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 1
    assert page.get_by_text("generated", exact=False).first.is_visible()
    assert page.evaluate("[...document.images].every(image => image.alt && image.naturalWidth > 0)")
    page.close()


def test_the_ui_shows_the_assets_in_groups_with_counts_presence_version_and_picture(edu_road: Road, browser):
    server = subprocess.Popen(
        [sys.executable, "-m", "mmn.orchestration.cli", "ui", "--port", str(PORT)],
        cwd=edu_road.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        deadline = time.monotonic() + 120
        while True:
            try:
                page.goto(f"http://127.0.0.1:{PORT}/assets/features/edu/video")
                break
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
        page.get_by_text("presence rate").first.wait_for(timeout=60_000)
        text = page.inner_text("body")
        for expected in ("features", "video", "presence rate", "items", "version", "edu"):
            assert expected in text
        assert edu_road.versions()["features-edu-video"][:6] in text
        page.get_by_text("Show Markdown").first.click()
        page.locator("img[src^='data:image/png']").first.wait_for(timeout=20_000)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
