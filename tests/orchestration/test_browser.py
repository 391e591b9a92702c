"""What a person sees: the report and the Dagster UI in a real browser. Needs Debian's Chromium (`make test-system`).

`MMN_SCREENSHOTS=1` writes the pictures of docs/operating.md anew, from the same generated world.
"""

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
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
SHORTER = """root => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(root, "study")
}"""


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
    (root / "operating.yaml").write_text(
        'owners: [team:research]\nschedules:\n  mimic: {cron: "0 2 * * 6", timezone: Europe/Zurich}\n'
    )
    generate(root, "mimic", "edu")
    road.run("mmn", "run", NOTES)
    return road


@pytest.fixture(scope="module")
def ui(study: Road) -> Iterator[str]:
    with served(study) as url:
        yield url


def picture(page, name: str, root: Path) -> None:
    """For the docs; where the workspace lies is left out."""
    if os.environ.get("MMN_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        path = IMAGES / f"{name}.png"
        page.wait_for_timeout(3_000)  # for what is still being drawn
        page.evaluate(SHORTER, str(root))
        page.screenshot(path=path)
        assert path.stat().st_size < 300_000


def test_a_person_finds_the_notes_reads_makes_them_again_and_switches_the_schedule_on(study: Road, ui: str, page):
    from playwright.sync_api import expect

    made = study.versions()["features-mimic-notes"]
    page.goto(ui)
    page.get_by_text("Search", exact=True).last.click()
    page.get_by_placeholder("Search", exact=False).last.fill(NOTES)
    page.locator(f"a[href='/assets/{NOTES}']").first.click()
    for expected in (
        "Echocardiography reports",
        "float32",
        "Row count",
        "presence rate",
        "different notes",
        "research",
        made,
    ):
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
    page.reload()
    page.get_by_text("RUN_SUCCESS", exact=True).first.wait_for()
    picture(page, "run", study.root)
    assert study.versions()["features-mimic-notes"] == made, "`mmn run` and the UI make the same bytes"
    assert "Nothing to do" in study.run("mmn", "run", "--dry-run", NOTES).stdout

    page.get_by_text("Automation", exact=True).first.click()
    page.get_by_text("retrain_mimic", exact=True).first.click()
    expect(page.locator("body")).to_contain_text("Europe/Zurich")
    switch = page.locator("label[class*='formatSwitch']").first
    expect(switch.locator("input")).not_to_be_checked()
    switch.click()
    expect(switch.locator("input")).to_be_checked()
    page.reload()
    expect(switch.locator("input")).to_be_checked()
    page.set_viewport_size({"width": 1300, "height": 600})
    picture(page, "schedule", study.root)


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
    assert {steps[key].kind for key in wanted} == {"raw", "prepared", "cohort", "features", "model"}


def test_no_sentence_of_a_note_is_in_what_was_recorded_or_logged(study: Road, ui: str):
    """After `mmn run` and the UI have embedded the notes: events, logs, metadata, progress, journal, DVC's files."""
    notes = [gzip.decompress(file.read_bytes()).decode() for file in (study.root / "raw" / "mimic" / "note").iterdir()]
    sentences = {part.strip().encode() for note in notes for part in re.split(r'[.\n"]', note) if len(part) > 40}
    files = [Path(folder, name) for folder, _, names in os.walk(study.root) for name in names]
    recorded = [file for file in files if study.root / "raw" not in file.parents]
    assert len(sentences) > 10 and any("history" in file.parts for file in recorded)
    content = {file: file.read_bytes() for file in recorded}
    assert [file for file, found in content.items() if any(sentence in found for sentence in sentences)] == []


def test_what_an_asset_was_made_from_and_the_report_are_a_click_away(ui: str, page):
    from playwright.sync_api import expect

    page.goto(f"{ui}/assets/{NOTES}")
    expect(page.locator("body")).to_contain_text("(item, D) =")
    page.get_by_role("row").filter(has_text="from cohorts/mimic").get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(r"/assets/cohorts/mimic"))
    page.goto(f"{ui}/assets/report")
    page.get_by_role("link", name="Open it").first.click()
    expect(page.locator("body")).to_contain_text("There is no report yet")


def test_a_run_that_was_killed_with_its_code_server_is_shown_as_failed(study: Road, ui: str, page):
    """Last: the server behind this UI is gone afterwards."""
    page.goto(f"{ui}/assets/{NOTES}")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("View", exact=True).last.click()
    begun = page.get_by_text(re.compile(r"Started process for run \(pid: \d+\)")).first.inner_text()
    worker = psutil.Process(int(re.findall(r"pid: (\d+)", begun)[0]))
    page.get_by_text("RUN_START", exact=True).first.wait_for()
    server = worker.parent()
    assert server is not None
    for process in (server, worker, *worker.children(recursive=True)):
        process.kill()
    page.get_by_text("its process is gone", exact=False).first.wait_for(timeout=120_000)
    page.get_by_text("Failure", exact=True).first.wait_for()
    study.run("mmn", "run", NOTES)
    assert "Nothing to do" in study.run("mmn", "run", "--dry-run", NOTES).stdout
