"""A workspace on a volume, made ready before Dagster's daemon starts in a container (`deploy/k8s`): what `mmn init`,
`mmn run --raw` and `mmn ui` do on a person's machine. Every start may repeat it.

    python -m mmn.orchestration.volume SETTINGS RAW
"""

from __future__ import annotations

import sys
from pathlib import Path

from mmn.data import DATASETS, load_dataset
from mmn.data.errors import MmnError, ParamsError
from mmn.data.files import write_bytes
from mmn.orchestration.dvc_pipeline import ensure_dvc, write_stages
from mmn.orchestration.needs import with_needs
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.operating import load_operating
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.steps import active_datasets, build_steps, check_params
from mmn.orchestration.workspace import Workspace, find_workspace


def make_ready(workspace: Workspace, settings: Path, raw: Path) -> list[str]:
    """Settings copied, raw folders linked, DVC and Dagster's home begun; a line for each thing that is there now.

    settings: a folder with `operating.yaml` and `params.yaml` (a mounted ConfigMap), which are the truth: they replace
    the workspace's own. raw: a folder with a folder per raw data (`raw/mimic`, ...). Raises ParamsError for settings
    that are not there or not readable, so that nothing starts with the defaults of one machine.
    """
    root, said = workspace.root, []
    for name in (OPERATING_FILE, PARAMS_FILE):
        if not (settings / name).is_file():
            raise ParamsError(f"{settings}: no {name} there. Put it into the ConfigMap that is mounted there.")
        write_bytes(root / name, (settings / name).read_bytes())
    # A folder that does not exist cannot be mounted into without being root's.
    workspace.dagster_home.mkdir(parents=True, exist_ok=True)
    check_params(workspace.params)
    operating = load_operating(root)
    known = list(dict.fromkeys(load_dataset(name).raw for name in DATASETS))
    for name in known:
        if (raw / name).is_dir():
            workspace.link_raw(name, raw / name)
            said.append(f"raw/{name}: {raw / name}")
    if not said:
        said.append(f"{raw}: none of {', '.join(known)} is a folder there, so there is nothing to walk yet.")
    ensure_dvc(root)
    steps = with_needs(build_steps(active_datasets(workspace)), operating.engine.needs, workspace.params)
    write_stages(workspace, steps)
    return [*said, f"{root}: {len(steps)} steps"]


def main(arguments: list[str]) -> None:
    try:
        settings, raw = map(Path, arguments)
        print(*make_ready(find_workspace(), settings, raw), sep="\n")
    except MmnError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
