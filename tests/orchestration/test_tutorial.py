"""The tutorial, followed to the letter: its file, its line, its commands; then Titanic walks the road."""

import re
import shutil
from pathlib import Path

import pytest

from mmn.orchestration.demo import make_workspace
from tests.orchestration.conftest import REPOSITORY, SHARED_DATA, Road

TITANIC = SHARED_DATA / "titanic"


@pytest.mark.skipif(not TITANIC.is_dir(), reason="the open Titanic file is not beside the repository")
def test_a_fourth_data_set_is_one_file_and_one_line(tmp_path: Path):
    root = tmp_path / "study"
    make_workspace(root)
    (root / "mmn").unlink()
    shutil.copytree(REPOSITORY / "mmn", root / "mmn", ignore=shutil.ignore_patterns("__pycache__"))
    page = (REPOSITORY / "docs" / "add-a-data-set.md").read_text()
    file, line = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]
    (root / "mmn" / "data" / "titanic.py").write_text(file)
    table = root / "mmn" / "data" / "__init__.py"
    assert line.count("\n") == 1
    table.write_text(
        table.read_text().replace("DATASETS: dict[str, str] = {\n", "DATASETS: dict[str, str] = {\n" + line)
    )
    commands = [c.split("#")[0].split() for c in re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1].strip().splitlines()]
    road = Road(root)
    for command in commands:
        out = road.run(*(part.replace("PATH", str(TITANIC)) for part in command)).stdout
    assert "0 left" in out
    scores = _scores(root)
    auroc = scores[(scores["metric"] == "auroc") & (scores["kind"] == "model")].set_index("model")["estimate"]
    assert auroc.between(0.75, 0.92).all(), auroc  # the page says: near 0.85
    assert "Titanic" in (root / "artifacts" / "report" / "index.html").read_text()


def _scores(root: Path):
    import pandas as pd

    return pd.read_parquet(root / "artifacts" / "results" / "titanic" / "scores" / "scores.parquet")
