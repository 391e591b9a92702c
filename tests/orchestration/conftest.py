"""A small world walked once: what the tests of the road look at."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmn.orchestration.demo import SEED, make_workspace
from mmn.orchestration.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
FAST = {"training": {"epochs": 2}}
# Hardly fitted, so nothing is asked of what it explains.
CODES = {"autoencoder": {"epochs": 2, "least_updates": 20, "least_explained": -1000.0}}
PARAMS = {
    "mimic": FAST | {"missingness": {"epochs": 1, "rates": [0.0, 0.5]}},
    "mimic_icu": FAST | {"missingness": {"epochs": 1, "rates": [0.0, 0.5]}},
    "edu": FAST | CODES | {"missingness": {"epochs": 1, "rates": [0.0, 0.5]}},
    "weather2k": FAST | CODES,
    "open_questions": {"ask": True, "items": 60, "epochs": 1, "states": [1], "tasks": [1], "steps": 3, "grown": [2, 4]},
}


class Road:
    """A workspace and the commands a person types in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def run(self, *command: str, check: bool = True, timeout: int = 600) -> subprocess.CompletedProcess:
        binaries = Path(sys.executable).parent
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "DVC", "MMN", "PYTEST"))},
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self.root),
        }
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            log = self.root / ".mmn" / "run.log"
            tail = log.read_text()[-3000:] if log.exists() else ""
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}\n{tail}")
        return done

    def params(self, values: dict) -> None:
        (self.root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def versions(self) -> dict[str, str]:
        stages = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return {name: stage["outs"][0]["md5"] for name, stage in stages.items()}

    def stale_in_dagster(self) -> list[str]:
        code = (
            "import dagster as dg\n"
            "from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus\n"
            "from dagster._core.loader import LoadingContextForTest\n"
            "from mmn.orchestration import definitions as d\n"
            "with dg.DagsterInstance.get() as i:\n"
            "    graph = d.defs.resolve_asset_graph()\n"
            "    resolver = CachingStaleStatusResolver(i, graph, LoadingContextForTest(i))\n"
            "    keys = graph.get_all_asset_keys()\n"
            "    print(*(k.to_user_string() for k in keys if resolver.get_status(k) != StaleStatus.FRESH))\n"
        )
        return sorted(self.run(sys.executable, "-W", "ignore", "-c", code).stdout.split())


def generate(root: Path, *names: str) -> None:
    from mmn.data import load_dataset

    for name in names:
        dataset = load_dataset(name)
        assert dataset.generate is not None
        dataset.generate(root / "raw" / dataset.raw, "tiny", SEED)


@pytest.fixture
def definitions(tmp_path, monkeypatch):
    """The module, loaded in a folder of no raw data; what it sets is put back."""
    (tmp_path / "empty").mkdir()
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "MMN_FULL_ERRORS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MMN_ROOT", str(tmp_path / "empty"))
    return importlib.import_module("mmn.orchestration.definitions")


@pytest.fixture(scope="session")
def edu_road(tmp_path_factory) -> Road:
    """EDU alone, walked to its report by `mmn run`. Tests that change it put it back."""
    root = tmp_path_factory.mktemp("edu") / "study"
    make_workspace(root)
    road = Road(root)
    road.params({"edu": PARAMS["edu"]})
    generate(root, "edu")
    road.run("mmn", "run")
    return road
