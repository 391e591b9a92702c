"""What a person sees: the report and the Dagster UI in a real browser. Needs Debian's Chromium (`make test-system`).

`MMN_SCREENSHOTS=1` writes the pictures of docs/operating.md anew, from the same generated world.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmn.orchestration.demo import make_workspace
from mmn.orchestration.run import _with_inputs
from mmn.orchestration.steps import active_datasets, build_steps
from tests.orchestration.conftest import PARAMS, REPOSITORY, Road, generate
from tests.orchestration.test_engines_system import free_ports

pytestmark = pytest.mark.system
IMAGES = REPOSITORY / "docs" / "images"
NOTES = "features/mimic/notes"
LOCATION = "/locations/mmn.orchestration.definitions"


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


@pytest.fixture
def page(browser):
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    yield page
    page.close()


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


@contextmanager
def served(road: Road, *arguments: str) -> Iterator[str]:
    """`mmn ui` as a person starts it; where it is."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mmn.orchestration.cli", "ui", "--port", str(port), *arguments],
        cwd=road.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(road.root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(url, timeout=10).close()
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Road:
    """MIMIC's notes made by `mmn run`; EDU's raw files are there and nothing is made of them."""
    root = tmp_path_factory.mktemp("mimic") / "study"
    make_workspace(root)
    road = Road(root)
    road.params({"mimic": PARAMS["mimic"], "edu": PARAMS["edu"]})
    generate(root, "mimic", "edu")
    road.run("mmn", "run", NOTES)
    return road


@pytest.fixture(scope="module")
def ui(study: Road) -> Iterator[str]:
    with served(study) as url:
        yield url


def picture(page, name: str, root: Path) -> None:
    """For the docs; where the workspace lies is left blank."""
    if os.environ.get("MMN_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f"{name}.png"
        page.screenshot(path=path, mask=[page.get_by_text(str(root))], mask_color="#ffffff")
        assert path.stat().st_size < 300_000


def test_a_person_finds_the_notes_reads_makes_them_again_and_switches_the_schedule_on(study: Road, ui: str, page):
    from playwright.sync_api import expect

    made = study.versions()["features-mimic-notes"]
    page.goto(ui)
    page.get_by_text("Search", exact=True).last.click()
    page.get_by_placeholder("Search", exact=False).last.fill(NOTES)
    page.locator(f"a[href='/assets/{NOTES}']").first.click()
    for expected in ("Echocardiography reports", "float32", "Row count", "presence rate", "different notes", made):
        expect(page.locator("body")).to_contain_text(expected)
    page.set_viewport_size({"width": 1300, "height": 1500})
    picture(page, "asset", study.root)
    page.get_by_role("row").filter(has_text="picture").get_by_text("Show Markdown").first.click()
    page.locator("img[src^='data:image/png']").first.wait_for()
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1300, "height": 900})

    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("View", exact=True).last.click()
    page.get_by_text("Success", exact=True).first.wait_for(timeout=120_000)
    page.get_by_text("RUN_SUCCESS", exact=True).first.wait_for()
    picture(page, "run", study.root)
    assert study.versions()["features-mimic-notes"] == made, "`mmn run` and the UI make the same bytes"
    assert "Nothing to do" in study.run("mmn", "run", "--dry-run", NOTES).stdout

    page.get_by_text("Automation", exact=True).first.click()
    page.get_by_text("retrain_mimic", exact=True).first.click()
    switch = page.locator("label[class*='formatSwitch']").first
    expect(switch.locator("input")).not_to_be_checked()
    switch.click()
    expect(switch.locator("input")).to_be_checked()
    picture(page, "schedule", study.root)
    page.reload()
    expect(switch.locator("input")).to_be_checked()


def test_a_viewer_reads_the_same_and_can_start_nothing(study: Road, browser):
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    with served(study, "--read-only") as url:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(f"{url}/assets/{NOTES}")
        page.get_by_text("presence rate").first.wait_for(timeout=60_000)
        expect(page.get_by_role("button", name="Materialize").first).to_be_disabled()
        page.goto(f"{url}{LOCATION}/schedules/retrain_edu")
        switch = page.locator("label[class*='formatSwitch'] input").first
        expect(switch).to_be_disabled()
        expect(switch).not_to_be_checked()
        page.close()


def test_what_the_ui_makes_from_raw_files_to_a_model_has_the_versions_that_mmn_run_leaves(
    edu_road: Road, study: Road, ui: str, page
):
    steps = build_steps(active_datasets(study.workspace))
    wanted = _with_inputs(steps, {"models/edu/pass_course/multimodn"})
    page.set_viewport_size({"width": 1300, "height": 2400})
    page.goto(f"{ui}{LOCATION}/asset-groups/edu/list")
    for key in wanted:
        page.locator(f"label:has([data-testid='checkbox-{key}'])").click()
    page.get_by_role("button", name="Materialize selected").first.click()
    page.get_by_text("View", exact=True).last.click()
    page.get_by_text("Success", exact=True).first.wait_for(timeout=300_000)
    expected = {steps[key].stage: edu_road.versions()[steps[key].stage] for key in wanted}
    made = {name: version for name, version in study.versions().items() if "edu" in name}
    assert made == expected, "from other folders, by other hands: the same bytes"
    assert len(wanted) > 8
