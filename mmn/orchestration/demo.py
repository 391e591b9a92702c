"""`mmn demo`: a generated raw world in the real on-disk formats, then the whole road. Also: making a new workspace."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from rich.console import Console

from mmn.data import DATASETS, load_dataset
from mmn.data.errors import MmnError, ParamsError
from mmn.data.files import alive, atomic_path, read_json
from mmn.orchestration.code import PACKAGE
from mmn.orchestration.dvc_pipeline import ensure_dvc
from mmn.orchestration.params import nearest_of
from mmn.orchestration.run import run
from mmn.orchestration.workspace import Workspace

SEED = 7
PARAMS = """\
# What this study changes from the defaults, which are the papers'. One block per data set: cohort, features (by
# modality), autoencoder, training, missingness; and mode, modalities, forced. An unknown key is refused. For example:
# mimic_icu:
#   cohort:
#     hour: 24.0
"""


def demo(workspace: Workspace, size: str) -> bool:
    console = Console()
    generate_worlds(workspace, size, console)
    fresh = run(workspace, console=console)
    if fresh:
        root = workspace.root
        console.print(f"Report:  {root / 'artifacts' / 'report' / 'index.html'}", highlight=False, soft_wrap=True)
        console.print("Dagster: make ui   (or `mmn ui` in the activated environment), then http://127.0.0.1:3000")
    return fresh


def generate_worlds(workspace: Workspace, size: str, console: Console) -> None:
    """Write what is missing; a person's own raw folder is left alone and used."""
    for path in (workspace.root / "raw").glob(".*.tmp"):
        if not alive(path.name.split(".")[-2]):
            shutil.rmtree(path)  # half a world, left by a killed run
    yours: list[str] = []
    for name in dict.fromkeys(load_dataset(key).raw for key in DATASETS):
        raw = workspace.raw(name)
        if raw.exists():
            truth = raw / "GENERATED.json"
            kind = f"generated world ({read_json(truth)['size']})" if truth.exists() else "your own files"
            console.print(f"raw/{name}: {kind}, already there.")
            continue
        makers = [d.generate for d in map(load_dataset, DATASETS) if d.raw == name and d.generate]
        if not makers:
            yours.append(name)
            continue
        started = time.monotonic()
        with console.status(f"raw/{name}: generating …"), atomic_path(raw) as temporary:
            makers[0](temporary, size, SEED)
        console.print(f"raw/{name}: generated world ({size}) written in {time.monotonic() - started:.0f} s.")
    if yours:
        console.print(
            f"With your own files only (`mmn run --raw NAME=PATH`): {', '.join(yours)}.", highlight=False, markup=False
        )


def generate_world(name: str, folder: Path, size: str, seed: int, form: str) -> None:
    """Raises ParamsError for raw data without a generator or a format that it does not write."""
    makers = {d.raw: d for d in map(load_dataset, DATASETS) if d.generate}
    if name not in makers:
        raise ParamsError(f"'{name}' is no raw data that can be generated. {nearest_of(name, sorted(makers))}")
    dataset = makers[name]
    assert dataset.generate is not None
    if not form:
        dataset.generate(folder, size, seed)
        return
    if form not in dataset.formats:
        raise ParamsError(f"--format {form}: {name} is written as {', '.join(dataset.formats) or 'one format alone'}.")
    dataset.generate(folder, size, seed, form)


def make_workspace(folder: Path) -> Workspace:
    """A folder with git, DVC, `params.yaml` and a link to the code; raw data and artifacts come later."""
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        raise MmnError(f"{folder}: not empty. Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / ".gitignore").write_text("/artifacts/\n/search/\n/raw/\n/.mmn/\n/.dagster/\n/mmn\n")
    (folder / "mmn").symlink_to(PACKAGE, target_is_directory=True)
    ensure_dvc(folder)
    return Workspace(folder)
