"""The report opens from the UI: served beside it, alone in its page, and nothing else of the disk is."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from mmn.data.files import write_json
from mmn.orchestration import served_report
from mmn.orchestration.presentation import made_metadata
from mmn.orchestration.step import Step
from mmn.orchestration.workspace import Workspace


@pytest.fixture
def client(tmp_path):
    (tmp_path / "secret.csv").write_text("no")
    (tmp_path / "report").mkdir()
    return TestClient(Starlette(routes=[served_report.route(tmp_path / "report")]))


def test_the_link_on_the_reports_page_opens_the_report_and_its_tables(client, tmp_path):
    out = tmp_path / "study" / "artifacts" / "report"
    out.mkdir(parents=True)
    step = Step(key="report", kind="report", dataset="report", out="artifacts/report", description="")
    told = made_metadata(Workspace(tmp_path / "study"), step)["report"].value
    link = told.partition("](")[2].rstrip(")")
    assert client.get(link).status_code == 404 and "mmn report" in client.get(link).text
    (tmp_path / "report" / "csv").mkdir()
    (tmp_path / "report" / "index.html").write_text("<html>Here</html>")
    (tmp_path / "report" / "csv" / "scores.csv").write_text("a,b\n")
    found = client.get(link)
    assert "Here" in found.text and found.headers["content-type"].startswith("text/html")
    assert client.get("/report/").text == found.text
    assert client.get("/report/csv/scores.csv").text == "a,b\n"


def test_the_report_cannot_speak_to_the_ui_and_nothing_outside_it_is_served(client, tmp_path):
    (tmp_path / "report" / "index.html").write_text("<html></html>")
    write_json(tmp_path / "report" / "card.json", {})
    (tmp_path / "report" / "out.csv").symlink_to(tmp_path / "secret.csv")
    policy = client.get("/report/").headers["content-security-policy"]
    assert policy.startswith("sandbox ") and "allow-same-origin" not in policy and "default-src 'none'" in policy
    for path in ("/report/..%2fsecret.csv", "/report/%2e%2e/secret.csv", "/report/out.csv", "/report/card.json"):
        assert client.get(path).status_code == 404, path
    assert client.post("/report/").status_code == 405
